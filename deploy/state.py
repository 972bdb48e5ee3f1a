"""Where Terraform's state is: one path per project, region, and name, in a local file or in a bucket."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import click

from deploy.plan_guard import Deployment, owner_of_state


class Backend:
    """Terraform's backend for the state of one deployment."""

    def __init__(self, configuration: Path, deployment: Deployment, bucket: str | None) -> None:
        self._configuration = configuration
        self._deployment = deployment
        self._bucket = bucket
        self._folder = configuration / "states" / str(deployment)
        self._file = self._folder / "terraform.tfstate"
        # Records that the state is in a bucket, so that a later call without the bucket does not start from nothing.
        self._marker = self._folder / "bucket"

    def prepare(self) -> list[str]:
        """Find the state, configure the backend, and return the options of `terraform init`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        options = self._prepare_file() if self._bucket is None else self._prepare_bucket(self._bucket)
        kind = "local" if self._bucket is None else "gcs"
        (self._configuration / "backend_override.tf").write_text(f'terraform {{\n  backend "{kind}" {{}}\n}}\n')
        return [f"-backend-config={option}" for option in options]

    def _prepare_file(self) -> list[str]:
        if self._marker.exists():
            bucket = self._marker.read_text().strip()
            raise click.ClickException(
                f"The state of {self._deployment} is in the bucket {bucket}. Add STATE_BUCKET={bucket}."
            )
        self._adopt_file()
        return [f"path={self._file.relative_to(self._configuration)}"]

    def _prepare_bucket(self, bucket: str) -> list[str]:
        target = f"gs://{bucket}/{self._deployment}/default.tfstate"
        self._adopt_file()
        if self._file.exists():
            raise click.ClickException(
                f"The state of {self._deployment} is on this machine. Move it to the bucket, and run this "
                "command again: "
                f"gcloud storage mv {self._file} {target}"
            )
        self._adopt_object(f"gs://{bucket}/{self._deployment.name}/default.tfstate", target)
        self._marker.write_text(f"{bucket}\n")
        return [f"bucket={bucket}", f"prefix={self._deployment}"]

    def _adopt_file(self) -> None:
        """Move this deployment's state from the file that all deployments of a checkout used to share."""
        shared = self._configuration / "terraform.tfstate"
        if self._file.exists() or not shared.exists():
            return
        state = json.loads(shared.read_text())
        owner = owner_of_state(state)
        if owner is None and state.get("resources"):
            raise click.ClickException(
                f"{shared} does not say which deployment it belongs to. Move it to {self._file} if it belongs to "
                f"{self._deployment}, or to another folder, and run this command again."
            )
        if owner == self._deployment:
            os.replace(shared, self._file)
            click.echo(f"Moved Terraform's state from {shared} to {self._file}.")

    def _adopt_object(self, shared: str, target: str) -> None:
        """Do the same in a bucket, whose folders used to be named only for the deployment's name."""
        found = self._read_object(shared)
        if found is None or self._read_object(target) is not None:
            return
        if owner_of_state(json.loads(found)) == self._deployment:
            if subprocess.run(["gcloud", "storage", "mv", shared, target], check=False).returncode != 0:
                raise click.ClickException(f"The state could not be moved from {shared} to {target}. Move it by hand.")
            click.echo(f"Moved Terraform's state from {shared} to {target}.")

    def _read_object(self, name: str) -> str | None:
        """The contents of an object; None if it does not exist."""
        listed = subprocess.run(["gcloud", "storage", "ls", name], capture_output=True, text=True, check=False)
        if listed.returncode != 0:
            if "matched no objects" in listed.stderr:
                return None
            raise click.ClickException(
                f"{name} cannot be read. Check the name of STATE_BUCKET and your permissions:\n{listed.stderr.strip()}"
            )
        read = subprocess.run(["gcloud", "storage", "cat", name], capture_output=True, text=True, check=False)
        if read.returncode != 0:
            raise click.ClickException(f"{name} cannot be read. Check your permissions:\n{read.stderr.strip()}")
        return read.stdout
