"""Images that jobs chose are removed if the disk is short."""

from __future__ import annotations

from pathlib import Path

import docker
import pytest
from containers.docker_engine import IMAGE

from worker_vm.worker.sandbox.container import images
from worker_vm.worker.sandbox.container.engine import ContainerEngine
from worker_vm.worker.sandbox.container.images import FREE_SHARE, PulledImages, free_share


class Disk:
    """A disk on which each image needs a tenth, and engine that refuses to remove images in use."""

    def __init__(self) -> None:
        self.free = FREE_SHARE - 0.15
        self.removed: list[str] = []
        self.in_use: set[str] = set()
        self.images = PulledImages(self.remove, lambda: self.free)
        for name in ("a", "b", "c", "d"):
            self.images.add(name)

    def remove(self, image: str) -> bool:
        if image in self.in_use:
            return False
        self.free += 0.1
        self.removed.append(image)
        return True


def test_the_least_recently_used_images_are_removed_until_enough_is_free() -> None:
    disk = Disk()
    disk.images.use("a")
    disk.images.use("pulled by somebody else")
    disk.images.make_room()
    assert disk.removed == ["b", "c"]
    disk.images.make_room()
    assert disk.removed == ["b", "c"]


def test_images_in_use_stay_and_are_removed_later() -> None:
    disk = Disk()
    disk.in_use = {"a", "b", "d"}
    disk.images.make_room()
    assert disk.removed == ["c"]
    disk.in_use.clear()
    disk.images.make_room(full=True)
    assert disk.removed == ["c", "a", "b", "d"]


def test_the_free_share_of_a_hidden_folder_is_that_of_its_disk(tmp_path: Path) -> None:
    assert 0 < free_share(tmp_path / "no" / "such" / "folder") <= 1


def test_the_engine_removes_an_image_that_no_container_uses(
    engine: docker.APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "FREE_SHARE", 2)
    name = "pulled/busybox:1"
    engine.tag(IMAGE, *name.split(":"))
    worker = ContainerEngine()
    container = engine.create_container(name, ["true"])["Id"]
    worker._images.add(name)
    engine.remove_container(container)
    worker._images.make_room()
    assert name not in [tag for image in engine.images() for tag in image["RepoTags"] or ()]
    assert engine.inspect_image(IMAGE)
    assert worker._remove_image("pulled/absent:1")
