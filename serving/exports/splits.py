"""Assigns sessions to splits by hash, so that the assignment is the same in every export with the same seed."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping

from serving.store.errors import InvalidValue

MAX_SPLITS = 8
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)


def parse(text: str) -> dict[str, float]:
    """Returns the share of each split in `train=0.9,test=0.1`, normalised to a sum of 1. Raises `InvalidValue`."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        try:
            value = float(share)
        except ValueError:
            value = math.nan
        if not _NAME.fullmatch(name) or name in shares or not (math.isfinite(value) and 0 < value <= 1e6):
            raise InvalidValue("split", "must be like train=0.9,test=0.1: each name once, shares above 0")
        shares[name] = value
    if len(shares) > MAX_SPLITS:
        raise InvalidValue("split", f"must have at most {MAX_SPLITS} names")
    total = math.fsum(shares.values())
    return {name: share / total for name, share in shares.items()}


def split_of(session: str, shares: Mapping[str, float], seed: int) -> str:
    """Returns the split of a session, whose range of [0, 1) contains the session's hash."""
    digest = hashlib.sha256(f"{seed}/{session}".encode()).digest()
    point = int.from_bytes(digest[:7]) / 2**56  # 56 bits: floats represent each value exactly, and none becomes 1
    last = ""
    for name, share in shares.items():
        last = name
        point -= share
        if point < 0:
            return name
    return last  # shares whose sum is slightly below 1
