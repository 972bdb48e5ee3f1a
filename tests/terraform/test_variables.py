"""A variable that cannot be is refused, with a sentence that says what it must be."""

from __future__ import annotations

import re

import pytest
from terraform_program import REPOSITORY, Terraform

WRONG = {
    "project_id": "My Project",
    "region": "us-central1-a",
    "name": "X",
    "labels": '{"Team"="a"}',
    "allow_unauthenticated": "perhaps",
    "invokers": '["allUsers"]',
    "require_nonce": "perhaps",
    "domain": "https://example.com/",
    "iap": '{client_id="a"}',
    "armor": "perhaps",
    "requests_per_minute": "1",
    "cors_origins": '["*"]',
    "function_limits": "{cpus=3}",
    "list_all_blobs": "perhaps",
    "bucket_name": "A bucket",
    "soft_delete_days": "3",
    "kms_key": "mine",
    "firestore_database": "Jobs!",
    "point_in_time_recovery": "perhaps",
    "delete_protection": "perhaps",
    "longest_job_seconds": "1",
    "lease_seconds": "1",
    "max_delivery_attempts": "1",
    "worker_image": "worker",
    "pools": '"many"',
    "worker_subnet_range": "10.0.0.0/8",
    "alert_emails": '["jane"]',
    "oldest_job_minutes": "1",
    "budget": '{billing_account="mine",monthly_amount=1}',
    "build": '{repository="mine",state_bucket="b"}',
}

OF_TYPE = {name for name, value in WRONG.items() if value == "perhaps"} | {"iap", "pools"}
"""of which Terraform itself says that the value is of another type"""


def _complaints(terraform: Terraform, *options: str) -> str:
    """On one line each, without the frame that Terraform draws."""
    done = terraform.run("plan", "-input=false", "-no-color", *options)
    assert done.returncode == 1, done.stdout
    return " ".join(done.stderr.replace("│", " ").split())


def _refused(terraform: Terraform, *options: str) -> str:
    return _complaints(terraform, "-var=project_id=my-project", *options)


def test_each_variable_can_be_wrong() -> None:
    declared = re.findall(r'^variable "(\w+)"', (REPOSITORY / "terraform/variables.tf").read_text(), re.MULTILINE)
    assert set(declared) == WRONG.keys()


def test_each_is_described_and_checked() -> None:
    text = (REPOSITORY / "terraform/variables.tf").read_text()
    for block in re.findall(r'^variable "\w+" \{\n.*?^\}$', text, re.MULTILINE | re.DOTALL):
        assert re.search(r"^  description = ", block, re.MULTILINE), block
        assert re.search(r"^  type +=", block, re.MULTILINE), block
        assert re.search(r"^  validation \{", block, re.MULTILINE), block


def test_all_wrong_values_are_named_at_once(terraform: Terraform) -> None:
    wrong = {name: value for name, value in WRONG.items() if name not in OF_TYPE}
    said = _complaints(terraform, *(f"-var={name}={value}" for name, value in wrong.items()))
    for name in wrong:
        assert re.search(rf" {name} must (be|have|name) ", said), name


def test_values_of_another_type_are_named_at_once(terraform: Terraform) -> None:
    said = _refused(terraform, *(f"-var={name}={WRONG[name]}" for name in OF_TYPE))
    for name in OF_TYPE:
        assert re.search(rf"(var\.|variable \"|-var=\"?|variable ){name}\b", said), name


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["pools={}"], "pools must name at least one pool"),
        (['pools={"Bad Name"={}}'], "pools must name at least one pool"),
        (["pools={dead-letter={}}"], '"dead-letter" is taken'),
        (["pools={a={max_workers=1.5}}"], "from 0 to max_workers, whole numbers"),
        (["function_limits={concurrency=1.5}"], "a concurrency from 1 to 1000, a whole number"),
        (["allow_unauthenticated=true", "require_nonce=false"], "anybody could run commands on your workers"),
        (["armor=true", 'iap={client_id="a",client_secret="b"}'], "armor needs a domain"),
    ],
)
def test_what_does_not_go_together_is_refused(terraform: Terraform, options: list[str], sentence: str) -> None:
    assert sentence in _refused(terraform, *(f"-var={option}" for option in options))


def test_all_faults_of_pools_are_named_at_once(terraform: Terraform) -> None:
    faults = {
        "slots": "0",
        "min_workers": "11",
        "idle_minutes": "0",
        "disk_gb": "1",
        "machine_type": '"large"',
        "accelerator_count": "0",
        "zones": '["moon-1a"]',
        "job_network": '"host"',
        "labels": '["a b"]',
        "image": '""',
        "job_cpus": "0",
        "job_timeout_seconds": "86401",
    }
    said = _refused(terraform, "-var=pools={a={" + ",".join(f"{name}={value}" for name, value in faults.items()) + "}}")
    assert len(re.findall(r" pools must ", said)) == len(faults)
