"""The digest that identifies a suite."""

from __future__ import annotations

import hashlib

import orjson

from serving.protocol.suites import Suite


def digest_of(suite: Suite) -> str:
    """Returns the SHA-256 of all that influences a suite's results: not its name and its description."""
    content = suite.model_dump(mode="json", exclude={"name", "description"})
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
