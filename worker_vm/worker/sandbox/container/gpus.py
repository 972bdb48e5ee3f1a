"""Give a job's container the machine's GPUs, for Container-Optimized OS.

The GPU devices and the driver's folders appear where images made for CUDA expect them
(https://cloud.google.com/container-optimized-os/docs/how-to/run-gpus).
"""

from __future__ import annotations

from collections.abc import Iterable

DEVICES = "/dev"
DRIVER = "/var/lib/nvidia"
_IN_CONTAINER = "/usr/local/nvidia"


def gpu_devices(count: int) -> list[str]:
    """The devices of this many GPUs and of the driver, in the engine's syntax."""
    names = [*(f"nvidia{number}" for number in range(count)), "nvidiactl", "nvidia-uvm"]
    return [f"{DEVICES}/{name}:/dev/{name}:rw" for name in names]


def driver_folders() -> dict[str, str]:
    """The driver's folders on the machine, by path in the container."""
    return {f"{_IN_CONTAINER}/{folder}": f"{DRIVER}/{folder}" for folder in ("bin", "lib64")}


def library_path(image_environment: Iterable[str]) -> str:
    """The search path for libraries: the driver's folder, then the image's search path."""
    of_image = dict(line.partition("=")[::2] for line in image_environment).get("LD_LIBRARY_PATH")
    return ":".join(filter(None, (f"{_IN_CONTAINER}/lib64", of_image)))
