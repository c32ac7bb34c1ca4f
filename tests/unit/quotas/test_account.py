"""Whose budget a key's is: it outlives its rotation, and a person has one for all their sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from serving.config import QuotaLimit, Quotas
from serving.core.principal import Principal
from serving.quotas.quota import Rules, quota
from serving.security.keys import Authenticator
from serving.store.keys import Keys
from serving.store.relational.database import Database
from serving.store.sessions import Sessions

ADMIN = Principal("default", "admin", "")
LIMIT = QuotaLimit(window="day", measure="tokens", limit=10)


@pytest.fixture
async def database(tmp_path) -> AsyncIterator[Database]:
    async with Database(f"sqlite:///{tmp_path}/h.db") as database:
        yield database


async def test_a_rotated_key_spends_of_the_same_budget(database: Database):
    authenticator = Authenticator(Keys(database), "s" * 40)
    row, first = await authenticator.issue(ADMIN)
    second_row, second = await authenticator.rotate(ADMIN, row.id, overlap_s=60)
    _, third = await authenticator.rotate(ADMIN, second_row.id, overlap_s=60)
    given = [quota("default", "key", row.id, LIMIT)]
    defaults = Quotas(key=(QuotaLimit(window="minute", measure="requests", limit=5),))
    of = []
    for key in (first, second, third):
        caller = await authenticator.verify(key)
        assert caller is not None
        of.append({each.id for each in Rules(defaults, given).quotas_for(caller, "m")})
    assert of[0] == of[1] == of[2]
    assert len(of[0]) == 2


async def test_a_rotated_key_can_have_a_lower_limit(database: Database):
    authenticator = Authenticator(Keys(database), "s" * 40)
    row, first = await authenticator.issue(ADMIN)
    second_row, second = await authenticator.rotate(ADMIN, row.id, overlap_s=60)
    rules = Rules(Quotas(), [quota("default", "key", second_row.id, LIMIT)])
    callers = [await authenticator.verify(key) for key in (first, second)]
    assert [len(rules.quotas_for(caller, "m")) for caller in callers if caller is not None] == [0, 1]


async def test_signing_in_again_gives_no_new_budget(database: Database):
    sessions = Sessions(database, lifetime_s=3600, idle_s=600)
    person = Principal("default", "admin", "person_1")
    rules = Rules(Quotas(key=(LIMIT,)))
    found = []
    for hash in ("a" * 64, "b" * 64):
        await sessions.start(person, "main", hash)
        session = await sessions.get(hash)
        assert session is not None
        found.append([each.id for each in rules.quotas_for(session.principal, "m")])
    assert found[0] == found[1] == [each.id for each in rules.quotas_for(person, "m")]
