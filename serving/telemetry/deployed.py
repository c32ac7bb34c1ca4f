"""What a gateway serves, as numbers that change with each roll-out and are the same in all gateways.

A time would change with each restart, too, and a label would make a series for each configuration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from serving.config import Catalog, ServingConfig
from serving.telemetry import metrics

SERVING = Path(__file__).parents[1]
EXACT_BYTES = 6
"""A sample is a double, which holds integers of up to 53 bits."""


def note(config: ServingConfig, catalog: Catalog) -> None:
    """Reports the code of this process and its configuration."""
    metrics.deployed_hash.labels("code").set(code_hash())
    metrics.deployed_hash.labels("configuration").set(
        number(document.model_dump_json().encode() for document in (config, catalog))
    )


@cache
def code_hash(folder: Path = SERVING) -> int:
    """Returns the hash of the modules below a folder, with their paths."""
    files = sorted(folder.rglob("*.py"))
    return number(part for file in files for part in (str(file.relative_to(folder)).encode(), file.read_bytes()))


def number(parts: Iterable[bytes]) -> int:
    """Returns a hash that a sample holds exactly."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8))
        found.update(part)
    return int.from_bytes(found.digest()[:EXACT_BYTES])
