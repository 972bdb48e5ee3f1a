"""The machine's GPUs in the container of a job, as Container-Optimized OS has them.

Its devices and the folders of its driver go where images made for CUDA look for them
(https://cloud.google.com/container-optimized-os/docs/how-to/run-gpus).
"""

from __future__ import annotations

from collections.abc import Iterable

DEVICES = "/dev"
DRIVER = "/var/lib/nvidia"
_IN_CONTAINER = "/usr/local/nvidia"


def gpu_devices(count: int) -> list[str]:
    """Those of so many GPUs, and of the driver, as the engine takes them."""
    names = [*(f"nvidia{number}" for number in range(count)), "nvidiactl", "nvidia-uvm"]
    return [f"{DEVICES}/{name}:/dev/{name}:rw" for name in names]


def driver_folders() -> dict[str, str]:
    """Those of the driver: in a container -> on the machine."""
    return {f"{_IN_CONTAINER}/{folder}": f"{DRIVER}/{folder}" for folder in ("bin", "lib64")}


def library_path(image_environment: Iterable[str]) -> str:
    """Where libraries are looked for: first in the driver, then where the image says."""
    of_image = dict(line.partition("=")[::2] for line in image_environment).get("LD_LIBRARY_PATH")
    return ":".join(filter(None, (f"{_IN_CONTAINER}/lib64", of_image)))
