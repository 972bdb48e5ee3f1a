"""Tests that invalid variables are rejected with a message that says what is valid."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from terraform_program import MODULE, REPOSITORY, Terraform

from docs.terraform_module import README, module_readme

TEXT = "".join(file.read_text() for file in sorted(MODULE.glob("variables*.tf")))

INVALID = {
    "project_id": "My Project",
    "region": "us-central1-a",
    "name": "X",
    "labels": '{"Team"="a"}',
    "allow_unauthenticated": "perhaps",
    "invokers": '["allUsers"]',
    "require_nonce": "perhaps",
    "auth_methods": '["password"]',
    "admin_token": "perhaps",
    "users": '["jane"]',
    "admins": '["https://example.com"]',
    "google_audiences": '["a b"]',
    "quotas": "{jobs_waiting=1.5}",
    "domain": "https://example.com/",
    "iap": '"perhaps"',
    "armor": "perhaps",
    "requests_per_minute": "1",
    "cors_origins": '["*"]',
    "function_limits": "{cpus=3}",
    "list_all_blobs": "perhaps",
    "bucket_name": "A bucket",
    "keep_jobs_days": "0",
    "soft_delete_days": "3",
    "kms_key": "mine",
    "firestore_database": "Jobs!",
    "point_in_time_recovery": "perhaps",
    "delete_protection": "perhaps",
    "longest_job_seconds": "1",
    "lease_seconds": "1",
    "queue_window": "0",
    "max_delivery_attempts": "1",
    "worker_image": "worker",
    "functions_image": "functions",
    "worker_os_image": "cos",
    "job_env": '{ORIGIN_URL="http://localhost"}',
    "pools": '"many"',
    "worker_subnet_range": "10.0.0.0/8",
    "alert_emails": '["jane"]',
    "oldest_job_minutes": "1",
    "waiting_job_minutes": "1",
    "budget": '{billing_account="mine",monthly_amount=1}',
    "build": '{repository="mine",state_bucket="b"}',
}

WRONG_TYPE = {name for name, value in INVALID.items() if value == "perhaps"} | {"iap", "pools"}
"""Variables whose invalid value Terraform itself rejects, because of its type."""


def _errors(terraform: Terraform, *options: str) -> str:
    """The error messages on a single line, without the frame that Terraform draws."""
    done = terraform.run("plan", "-input=false", "-no-color", *options)
    assert done.returncode == 1, done.stdout
    return " ".join(done.stderr.replace("│", " ").split())


def test_readme_of_the_module_is_current() -> None:
    assert README.read_text() == module_readme(), "The README is out of date: run `make docs`."


def test_root_passes_every_variable_to_the_module_and_every_output_from_it() -> None:
    def declared(kind: str, folder: Path) -> set[str]:
        text = "".join(file.read_text() for file in folder.glob("*.tf"))
        return set(re.findall(rf'^{kind} "(\w+)"', text, re.MULTILINE))

    root = REPOSITORY / "terraform"
    for kind in ("variable", "output"):
        assert declared(kind, root) == declared(kind, MODULE)
    passed = dict(re.findall(r"^  (\w+) += var\.(\w+)$", (root / "main.tf").read_text(), re.MULTILINE))
    assert passed == {name: name for name in declared("variable", MODULE)}


def test_every_resource_of_an_earlier_version_has_moved_into_the_module() -> None:
    """Otherwise, Terraform would replace it."""
    state = json.loads((Path(__file__).parent / "data/earlier_state.json").read_text())
    earlier = {f"{found['type']}.{found['name']}" for found in state["resources"]}
    handled = set(re.findall(r"^  from = (\S+)$", (REPOSITORY / "terraform/moved.tf").read_text(), re.MULTILINE))
    gone = {"google_project_iam_custom_role.leave_group", "google_project_iam_member.leave_group"}
    assert earlier - handled == gone


def test_every_variable_has_an_invalid_value() -> None:
    declared = re.findall(r'^variable "(\w+)"', TEXT, re.MULTILINE)
    assert set(declared) == INVALID.keys()


def test_every_variable_has_description_type_and_validation() -> None:
    for block in re.findall(r'^variable "\w+" \{\n.*?^\}$', TEXT, re.MULTILINE | re.DOTALL):
        assert re.search(r"^  description = ", block, re.MULTILINE), block
        assert re.search(r"^  type +=", block, re.MULTILINE), block
        assert re.search(r"^  validation \{", block, re.MULTILINE), block


def test_all_invalid_values_are_reported_at_once(variables_only: Terraform) -> None:
    # Variables that must match others, such as the region, are checked only if those are valid.
    excluded = {*WRONG_TYPE, "region", "auth_methods", "google_audiences"}
    invalid = {name: value for name, value in INVALID.items() if name not in excluded}
    errors = _errors(variables_only, *(f"-var={name}={value}" for name, value in invalid.items()))
    for name in invalid:
        assert re.search(rf" {name} must (be|have) ", errors), name


def test_all_values_of_wrong_types_are_reported_at_once(variables_only: Terraform) -> None:
    options = [f"-var={name}={INVALID[name]}" for name in WRONG_TYPE]
    errors = _errors(variables_only, "-var=project_id=my-project", *options)
    for name in WRONG_TYPE:
        assert re.search(rf"(var\.|variable \"|-var=\"?|variable ){name}\b", errors), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["pools={}"], "pools must have at least one pool."),
        (['pools={"Bad Name"={}}'], "The name of a pool must have 1 to 20 lowercase letters"),
        (["pools={dead-letter={}}"], 'must not be "dead-letter"'),
        (["pools={a={max_workers=1.5}}"], "from 0 to max_workers, as whole numbers"),
        (["function_limits={concurrency=1.5}"], "a concurrency that is a whole number from 1 to 1000"),
        (["allow_unauthenticated=true", "require_nonce=false"], "anyone could run commands on your workers"),
        (
            ["allow_unauthenticated=true", "require_nonce=false", 'auth_methods=["open","token"]'],
            "anyone could run commands on your workers",
        ),
        (["auth_methods=[]"], "auth_methods must be one or more of"),
        ([f"auth_methods={INVALID['auth_methods']}"], "auth_methods must be one or more of"),
        ([f"google_audiences={INVALID['google_audiences']}"], "google_audiences must be audiences without commas"),
        (
            ['auth_methods=["google"]'],
            'auth_methods must have "google" if users or admins name accounts, and only then',
        ),
        (['admins=["jane@example.com"]'], 'auth_methods must have "google" if users or admins name accounts'),
        (['google_audiences=["a"]'], 'google_audiences needs "google" in auth_methods'),
        (["armor=true"], "armor needs a domain"),
        (['iap={client_id="a",client_secret="b"}'], "iap must be {} without a domain"),
        (["domain=a.example.com", "iap={}"], "must have a client_id and a client_secret with a domain"),
        (["iap={}", "allow_unauthenticated=true"], "callers could then bypass Identity-Aware Proxy"),
        (["function_limits={memory_mib=8192}"], "a memory_mib that Cloud Run allows for its cpus"),
        (["function_limits={cpus=4}"], "a memory_mib that Cloud Run allows for its cpus"),
        (["function_limits={cpus=8,memory_mib=2048}"], "a memory_mib that Cloud Run allows for its cpus"),
        (["name=my-goog"], 'name must not contain "goog"'),
        (["bucket_name=my-google-bucket"], "which Google reserves"),
        (["bucket_name=goog-bucket"], "which Google reserves"),
        (["region=us-central1-a"], "region must be a region such as"),
        (["region=us-east7"], "region must be a region that has Firestore"),
        (["kms_key=projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"], "kms_key must be a key in the region"),
        (
            ['build={state_bucket="b",repository="projects/p/locations/europe-west4/connections/c/repositories/r"}'],
            "build must have a repository whose connection is in the region",
        ),
        (['pools={a={standby={size=1,mode="off"}}}'], 'a mode of "suspended" or "stopped"'),
        (
            ['pools={a={machine_type="n1-standard-4",accelerator_type="nvidia-tesla-t4",standby={size=1}}}'],
            "such VMs cannot be suspended",
        ),
        (["pools={a={job_disk_quota=true}}"], "pools with job_disk_quota must have a disk_gb"),
        (
            ["pools={a={job_disk_quota=true,slots=1,job_disk_mib=51200,disk_gb=60}}"],
            "must have a disk_gb with room for",
        ),
        (['pools={a={machine_type="t2a-standard-4"}}'], "pools must have an x86 machine_type"),
        (['pools={a={machine_type="c4a-standard-4",disk_type="hyperdisk-balanced"}}'], "pools must have an x86"),
        (['pools={a={machine_type="c4-standard-4"}}'], "pools must have a disk_type that the machine family supports"),
        (
            ['pools={a={disk_type="hyperdisk-balanced"}}'],
            "pools must have a disk_type that the machine family supports",
        ),
        (['pools={a={machine_type="c3-standard-4",disk_type="pd-standard"}}'], "pools must have a disk_type that"),
        (['pools={a={machine_type="g2-standard-4"}}'], "pools must have an accelerator_type"),
        (['pools={a={job_egress=["10.0.0.0/8"]}}'], 'job_egress only with the job_network "bridge"'),
        (['pools={a={job_network="bridge",job_egress=["::/0"]}}'], "as ranges of IPv4 addresses"),
        (['pools={a={accelerator_type="nvidia-tesla-t4"}}'], "otherwise only with an n1 machine_type"),
    ],
)
def test_invalid_combination_is_rejected(variables_only: Terraform, options: list[str], message: str) -> None:
    assert message in _errors(variables_only, "-var=project_id=my-project", *(f"-var={option}" for option in options))


@pytest.mark.parametrize(
    "options",
    [
        ["function_limits={cpus=4,memory_mib=2048}"],
        ["function_limits={cpus=8,memory_mib=32768}"],
        ["iap={}", "region=europe-west15"],
        ["allow_unauthenticated=true", "require_nonce=false", 'auth_methods=["token"]'],
        ['auth_methods=["token","google"]', 'users=["domain:example.com"]', 'admins=["jane@example.com"]'],
        ['iap={client_id="a",client_secret="b"}', "domain=a.example.com"],
        ['pools={a={machine_type="c4-standard-4",disk_type="hyperdisk-balanced"}}'],
        [
            'pools={a={job_network="bridge",job_egress=["10.0.0.0/8","192.0.2.1/32"]},b={job_network="bridge",job_egress=[]}}'
        ],
        ["pools={a={job_disk_quota=true,disk_gb=64},b={job_disk_quota=true,slots=1,job_disk_mib=102400,disk_gb=128}}"],
        ['pools={a={machine_type="c3-standard-4"},b={machine_type="g2-standard-4",accelerator_type="nvidia-l4"}}'],
        ['pools={a={machine_type="n1-standard-4",accelerator_type="nvidia-tesla-t4",disk_type="pd-standard"}}'],
    ],
)
def test_valid_combination_is_accepted(variables_only: Terraform, options: list[str]) -> None:
    done = variables_only.run(
        "plan", "-input=false", "-no-color", "-var=project_id=my-project", *(f"-var={option}" for option in options)
    )
    assert done.returncode == 0, done.stderr


def test_all_errors_in_pools_are_reported_at_once(variables_only: Terraform) -> None:
    errors = {
        "slots": "0",
        "min_workers": "11",
        "standby": "{size=0}",
        "idle_minutes": "0",
        "disk_gb": "1",
        "machine_type": '"large"',
        "accelerator_count": "0",
        "zones": '["moon-1a"]',
        "job_network": '"host"',
        "job_egress": '["example.com"]',
        "job_env": '{"ORIGIN_URL"="x"}',
        "labels": '["a b"]',
        "image": '""',
        "job_cpus": "0",
        "job_timeout_seconds": "86401",
    }
    pools = "-var=pools={a={" + ",".join(f"{name}={value}" for name, value in errors.items()) + "}}"
    messages = _errors(variables_only, "-var=project_id=my-project", pools)
    assert len(re.findall(r" pools must ", messages)) == len(errors)
