"""Whose what an engine keeps of prompts is."""

from __future__ import annotations

import re

import pytest

from serving.config import PromptCache
from serving.core.principal import Principal
from serving.security.prompt_cache import CacheOwners

SECRET = "s" * 40
ANN, BEN = Principal("acme", "ann", "key_1"), Principal("acme", "ben", "key_2")
EVE = Principal("evil", "ann", "key_3")


@pytest.mark.parametrize(
    ("shared_by", "with_colleague", "with_itself"),
    [("tenant", True, True), ("user", False, True), ("off", False, False)],
)
def test_cache_sharing_follows_the_setting(shared_by: PromptCache, with_colleague: bool, with_itself: bool) -> None:
    owners = CacheOwners(shared_by, SECRET)
    ann = owners.owner(ANN)
    assert (owners.owner(BEN).name == ann.name) is with_colleague
    assert (owners.owner(ANN).name == ann.name) is with_itself
    assert owners.owner(EVE).name != ann.name


def test_counts_are_reported_for_unshared_caches() -> None:
    assert [CacheOwners(by, SECRET).counted for by in ("tenant", "user", "off")] == [False, True, True]


def test_cache_salts_require_the_key() -> None:
    owner = CacheOwners("tenant", SECRET).owner(ANN)
    assert CacheOwners("tenant", SECRET).owner(ANN) == owner
    assert CacheOwners("tenant", "t" * 40).owner(ANN).name != owner.name
    assert re.fullmatch(r"[0-9a-f]{32}", owner.name)
    assert "acme" not in owner.name
    assert SECRET not in repr(CacheOwners("tenant", SECRET))


def test_names_do_not_run_together() -> None:
    owners = CacheOwners("user", SECRET)
    assert owners.owner(Principal("a", "bc", "k")).name != owners.owner(Principal("ab", "c", "k")).name
    assert CacheOwners("tenant", SECRET).owner(ANN).name != owners.owner(ANN).name
