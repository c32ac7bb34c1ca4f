"""Frames of resumable streams."""

from __future__ import annotations

import re


def frames(data):
    assert data.endswith(b"\n\n")
    return [f + b"\n\n" for f in data[:-2].split(b"\n\n")]


def numbers(id, found):
    return [int(re.match(rb"id: " + id.encode() + rb"\.(\d+)\n", f)[1]) for f in found]
