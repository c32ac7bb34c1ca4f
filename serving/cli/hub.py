"""`headrace hub`."""

from __future__ import annotations

import click

from serving.cli.hub_evaluations import evaluations, suites
from serving.cli.hub_jobs import datasets, jobs
from serving.cli.hub_releases import releases
from serving.cli.hub_versions import versions


@click.group()
def hub() -> None:
    """The model hub: versions of models and adapters, what makes them, comparisons by suites, and releases.

    Requires a key with the scope hub:read, and hub:write for changes.
    """


for command in (versions, datasets, jobs, suites, evaluations, releases):
    hub.add_command(command)
