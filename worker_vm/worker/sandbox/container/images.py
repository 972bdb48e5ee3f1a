"""The images that a worker has pulled for jobs: the least recently used ones make room if the disk is short."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from shutil import disk_usage

logger = logging.getLogger(__name__)

FREE_SHARE = 0.2
"""Share of the disk that must be free before an image is pulled; otherwise, unused images are removed."""


class PulledImages:
    """Knows only the images that this worker has pulled, so it removes no others. Safe for use by threads."""

    def __init__(self, remove: Callable[[str], bool], free_share: Callable[[], float]) -> None:
        """`remove` returns whether the image is gone: not if a container uses it. `free_share` is the disk's."""
        self._remove = remove
        self._free_share = free_share
        self._lock = threading.Lock()
        self._images: dict[str, None] = {}
        """The images, least recently used first."""

    def add(self, image: str) -> None:
        with self._lock:
            self._images.pop(image, None)
            self._images[image] = None

    def use(self, image: str) -> None:
        """Record that a job uses the image."""
        with self._lock:
            if image in self._images:
                self._images[image] = self._images.pop(image)

    def make_room(self, *, full: bool = False) -> None:
        """Remove images until enough of the disk is free; all that can be removed if the disk is `full`."""
        with self._lock:
            for image in list(self._images):
                if not full and self._free_share() >= FREE_SHARE:
                    return
                if self._remove(image):
                    logger.info("image removed", extra={"action": "remove", "image": image})
                    del self._images[image]


def free_share(folder: Path) -> float:
    """Free share of the disk that has the folder, or else its nearest parent that is visible here."""
    while not folder.exists():
        folder = folder.parent
    found = disk_usage(folder)
    return found.free / found.total
