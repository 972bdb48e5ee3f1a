"""Commands for blobs: `put`, `ls`, `cat`, `cp`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cloud_executor.cli.connection import connected
from cloud_executor.cli.options import json_option
from cloud_executor.cli.output.job_output import write
from cloud_executor.cli.output.job_rows import format_bytes
from cloud_executor.cli.output.messages import say
from cloud_executor.client.client import Client
from cloud_executor.client.results.result import Result


@click.command(short_help="Store files and folders on the server.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="PATH...")
@connected
@click.option("--zip", "as_zip", is_flag=True, help="Store a folder as a zip, which keeps modes and links.")
@json_option
def put(client: Client, paths: tuple[Path, ...], as_zip: bool, as_json: bool) -> int:
    """Store files, or folders as artifacts, and print the hash of each.

    An artifact has the name of its folder. Contents that the server has are not sent again. The hash can be an input of
    jobs: `executor run --input PATH=HASH`.
    """
    hashes: dict[str, str] = {}
    for path in paths:
        if not path.is_dir():
            hashes[str(path)] = client.upload_file(path)
        else:
            hashes[str(path)] = client.upload_folder(path) if as_zip else client.upload_artifact(path)
        if not as_json:
            click.echo(f"{hashes[str(path)]}\t{path}" if len(paths) > 1 else hashes[str(path)])
    if as_json:
        click.echo(json.dumps(hashes, indent=4))
    return 0


@click.command(short_help="List the files of an artifact.")
@click.argument("blob", metavar="HASH")
@connected
@json_option
def ls(client: Client, blob: str, as_json: bool) -> int:
    """List the files of an artifact, or show the name and size of a file."""
    metadata = client.metadata(blob)
    content = metadata.get("content")
    if as_json:
        click.echo(json.dumps(metadata, indent=4))
    elif isinstance(content, dict):
        for path in content:
            click.echo(path)
    else:
        click.echo(f"{metadata.get('name', '')}\t{format_bytes(float(metadata.get('size') or 0))}")
    return 0


@click.command(short_help="Print a stored file.")
@click.argument("blob", metavar="HASH")
@click.argument("path", required=False)
@connected
def cat(client: Client, blob: str, path: str | None) -> int:
    """Print a blob, or the file at PATH of an artifact. An artifact without PATH is printed as a zip."""
    write(client.chunks(blob, path))
    return 0


@click.command(short_help="Copy stored files to this machine.")
@click.argument("source", metavar="HASH[/PATH]")
@click.argument("destination", type=click.Path())
@connected
def cp(client: Client, source: str, destination: str) -> int:
    """Copy a blob, or a file of an artifact, to a file or folder on this machine.

    The files of an artifact are stored below the folder DESTINATION. A DESTINATION that ends with / is a folder, which
    is created if it does not exist.
    """
    place = Path(destination)
    blob, slash, path = source.partition("/")
    metadata = client.metadata(blob)
    if not slash and isinstance(metadata.get("content"), dict):
        count = Result(client, blob).download(place)
        say(f"Stored {count} file{'' if count == 1 else 's'} in {place}.")
        return 0
    name = Path(path).name if slash else Path(str(metadata.get("name") or blob)).name
    if destination.endswith("/"):  # Path drops it
        place.mkdir(parents=True, exist_ok=True)
    target = place / name if place.is_dir() else place
    if slash:
        client.download_file(blob, path, target)
    else:
        client.download(blob, target)
    say(f"Stored {target}.")
    return 0
