"""Names under which versions are called."""

from __future__ import annotations

from pydantic import TypeAdapter

from serving.hub.checks import checked_name
from serving.hub.live import live_name
from serving.protocol.parts import ModelName


def test_the_longest_name_of_a_live_version_is_a_name_of_a_model() -> None:
    name = live_name("t" * 63, checked_name("n" * 48), 10**14)
    assert TypeAdapter(ModelName).validate_python(name) == name
