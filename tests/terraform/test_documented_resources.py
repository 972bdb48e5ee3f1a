"""What the pages say about resources, compared with the configuration."""

from __future__ import annotations

import re

from terraform_program import REPOSITORY, Document, Terraform, of_type


def test_operations_page_lists_each_alert(example: list[Document]) -> None:
    page = (REPOSITORY / "docs/operations.md").read_text().partition("## Alerts")[2].partition("\n## ")[0]
    alerts = {
        re.sub(r"pool \S+", "pool _name_", policy["values"]["display_name"].removeprefix("cloud-executor: "))
        for policy in of_type(example, "google_monitoring_alert_policy")
    }
    assert set(re.findall(r"^\| (.+?) \| .+ \| .+ \|$", page, re.MULTILINE)) - {"alert", "---"} == alerts


def test_examples_on_the_scaling_page_have_enough_slots(variables_only: Terraform) -> None:
    examples = re.findall(r"```hcl\n(.*?)```", (REPOSITORY / "docs/scaling.md").read_text(), re.DOTALL)
    assert len(examples) == 2
    for jobs, example in zip((1_000, 100_000), examples, strict=True):
        (variables_only.folder / "scaling.tfvars").write_text(example)
        slots = variables_only.output(
            "console",
            "-var=project_id=my-project",
            "-var-file=scaling.tfvars",
            input="sum([for pool in var.pools : pool.slots * pool.max_workers])\n",
        )
        assert int(slots) >= jobs
