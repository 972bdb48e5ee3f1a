"""Tests for the patterns of images."""

from __future__ import annotations

import pytest

from cloud_executor.model.jobs.image_patterns import image_matches


@pytest.mark.parametrize(
    ("pattern", "allowed", "rejected"),
    [
        ("tool:1", ["tool:1"], ["tool", "tool:12", "lab/tool:1", "tool:1@sha256:ab"]),
        ("tool", ["tool", "tool:12", "tool@sha256:ab", "tool:1@sha256:ab"], ["tools", "tool/x", "x.io/tool"]),
        ("*", ["python", "python:3.12"], ["lab/python", "evil.example/python", "10.0.0.5:5000/x", "localhost/x"]),
        ("**", ["python:3", "lab/python", "a/b/c@sha256:ab"], ["evil.example/python", "localhost:5000/x"]),
        ("lab/*", ["lab/a", "lab/a:1"], ["lab/a/b", "lab", "evil/lab/a", "lab.example/a"]),
        ("lab/**", ["lab/a", "lab/a/b:c"], ["lab", "laboratory/a"]),
        (
            "*-docker.pkg.dev/p/*",
            ["europe-docker.pkg.dev/p/y", "us-docker.pkg.dev/p/y:1"],
            ["evil.example/x-docker.pkg.dev/p/y", "evil.example:5000/x-docker.pkg.dev/p/y", "us-docker.pkg.dev/p/r/y"],
        ),
        (
            "us-docker.pkg.dev/p/**",
            ["us-docker.pkg.dev/p/r/y:1"],
            ["us-docker.pkg.dev:9/p/r/y", "us-docker.pkg.dev/q/y"],
        ),
        ("**.example/x", ["a.b.example/x"], ["evil/a.example/x", "evil.test/a.example/x"]),
        ("registry.example:5000/x", ["registry.example:5000/x:2"], ["registry.example/x", "registry.example:5001/x"]),
        ("tool:1.?", ["tool:1.2"], ["tool:1.22", "tool:1."]),
        ("tool:*", ["tool:1"], ["tool", "tool:1@sha256:ab"]),
        ("a.b/c", ["a.b/c"], ["axb/c", "a.bxc"]),
    ],
)
def test_a_pattern_allows_an_image(pattern: str, allowed: list[str], rejected: list[str]) -> None:
    assert [image for image in allowed if not image_matches(image, pattern)] == []
    assert [image for image in rejected if image_matches(image, pattern)] == []
