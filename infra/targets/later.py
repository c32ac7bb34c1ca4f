"""What a run of the program leaves for a later one, so that a new stack on this host answers soon."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

VARIABLE = "HEADRACE_LATER"
"""The names of what is left, separated by commas; `make up` sets it when it brings up a new stack."""

DOCUMENTS = "documents"
"""All paths of a collection but the first one."""
PROMETHEUS = "prometheus"


def variables(*left: str) -> Mapping[str, str]:
    """Returns the environment of a run that leaves these for later."""
    return {VARIABLE: ",".join(left)}


def is_later(name: str) -> bool:
    """Returns whether this run leaves it."""
    return name in os.environ.get(VARIABLE, "").split(",")


def paths(of_collection: Sequence[str]) -> Sequence[str]:
    """Returns those paths of a collection that this run ingests."""
    return of_collection[:1] if is_later(DOCUMENTS) else of_collection
