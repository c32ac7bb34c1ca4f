"""Plans as text, compared with those of the repository. HEADRACE_WRITE_SNAPSHOTS=1 writes them anew."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import yaml

SNAPSHOTS = Path(__file__).parent / "snapshots"


def golden(resources: Iterable[Any], left_out: Collection[str] = ()) -> str:
    """Types, names, parents, providers and arguments, but for those `left_out`."""
    return yaml.safe_dump(
        [
            {
                "urn": r.urn.split("::", 2)[2],
                "parent": r.parent,
                **({"provider": r.provider} if r.provider else {}),
                **({"protect": True} if r.protect else {}),
                "arguments": json.loads(
                    json.dumps({n: v for n, v in r.inputs.items() if n not in left_out}, sort_keys=True)
                ),
                **({"secret": sorted(r.secrets)} if r.secrets else {}),
            }
            for r in sorted(resources, key=lambda r: r.urn)
        ],
        sort_keys=False,
        width=110,
    )


def check(file: str, found: str) -> None:
    """`found` is what the snapshot says."""
    snapshot = SNAPSHOTS / file
    if os.environ.get("HEADRACE_WRITE_SNAPSHOTS"):
        snapshot.write_text(found)
    assert found == snapshot.read_text()
