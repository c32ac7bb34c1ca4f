import re
from typing import Any

import pytest

from infra.providers.__main__ import KINDS
from infra.providers.random_secret import RandomSecretProvider


def test_it_is_256_bits_under_its_prefix_and_marked_secret(said: Any) -> None:
    id, outputs = RandomSecretProvider().create({"prefix": "hr_", "revision": 1}, said.task)
    assert re.fullmatch(r"hr_[A-Za-z0-9_-]{43}", outputs["value"])
    assert "value" in RandomSecretProvider.secret_outputs
    assert outputs["value"] not in id + outputs["digest"]


def test_secrets_differ(said: Any) -> None:
    made = [RandomSecretProvider().create({"prefix": "", "revision": 1}, said.task) for _ in range(50)]
    assert len({outputs["value"] for _, outputs in made}) == len({id for id, _ in made}) == 50


def test_a_refresh_and_an_equal_program_change_nothing(said: Any) -> None:
    id, outputs = RandomSecretProvider().create({"prefix": "hr_", "revision": 1}, said.task)
    found = RandomSecretProvider().read(id, outputs)
    assert (found.id, found.outputs) == (id, outputs)
    assert RandomSecretProvider().diff(found.outputs, {"prefix": "hr_", "revision": 1}).changed == ()


@pytest.mark.parametrize(("changed", "value"), [("prefix", "x"), ("revision", 2)])
def test_another_prefix_or_revision_is_another_secret(said: Any, changed: str, value: object) -> None:
    wanted = {"prefix": "hr_", "revision": 1}
    _, outputs = RandomSecretProvider().create(wanted, said.task)
    assert RandomSecretProvider().diff(outputs, {**wanted, changed: value}).replaced == (changed,)


@pytest.mark.parametrize("token", ["headrace:index:Secret", "headrace:index:RandomSecret"])
def test_the_tokens_are_for_ever(token: str) -> None:
    assert token in KINDS
