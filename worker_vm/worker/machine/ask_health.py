"""Report the health of this machine's worker (`python -m worker_vm.worker.machine.ask_health`)."""

from __future__ import annotations

import http.client
import os
import sys

from cloud_executor.errors import os_reason
from worker_vm.worker.machine.health import PATH, REQUEST_SECONDS


def main() -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["HEALTH_PORT"]), timeout=REQUEST_SECONDS)
    try:
        connection.request("GET", PATH)
        response = connection.getresponse()
        sys.stdout.write(response.read().decode())
        sys.exit(response.status != http.HTTPStatus.OK)
    except OSError as error:
        sys.exit(f"The worker does not respond: {os_reason(error)}.")


if __name__ == "__main__":
    main()
