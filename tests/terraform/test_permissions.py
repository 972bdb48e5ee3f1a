"""docs/deployment.md says who may do what; so does the configuration."""

from __future__ import annotations

import re
from collections.abc import Callable

from terraform_program import REPOSITORY, Document, Terraform


def _documented() -> set[tuple[str, str]]:
    text = (REPOSITORY / "docs" / "deployment.md").read_text()
    rows = re.findall(r"^\| ([a-z-]+|Pub/Sub's own) \| (roles/\S+|leave_group) \| .+ \| .+ \|$", text, re.MULTILINE)
    return set(rows)


def _configured(made: list[Document]) -> set[tuple[str, str]]:
    accounts = {
        found["values"]["member"]: found["index"] for found in made if found["type"] == "google_service_account"
    }
    roles = {
        found["values"]["name"]: "leave_group" for found in made if found["type"] == "google_project_iam_custom_role"
    }
    granted = set()
    for found in made:
        if not found["type"].endswith("_iam_member"):
            continue
        values = found["values"]
        account = accounts.get(values["member"]) or (
            "Pub/Sub's own" if "gcp-sa-pubsub" in values["member"] else values["member"]
        )
        granted.add((account, roles.get(values["role"], values["role"])))
    return granted


def test_the_table_is_what_is_configured(make_terraform: Callable[[], Terraform]) -> None:
    assert _configured(make_terraform().applied()) == _documented()
