"""Requests for an erasure: who may be erased, dry runs, and whose erasures they are."""

from __future__ import annotations

import pytest

from serving.api.state_sampler import KINDS
from serving.assistants.memory.jobs import REMEMBER
from serving.core.principal import SCOPES_OF, Principal
from serving.hub.evaluations import EVALUATE
from serving.store.background.batches import BATCH
from serving.store.background.responses import RESPOND
from serving.store.background.webhooks import DELIVER
from serving.store.errors import Conflict, InvalidValue, NotFound
from serving.store.memories import Memories
from serving.store.usage import ERASED
from serving.store.vector_store import DROP_RETIRED, REINDEX
from tests.contract.retrieval.erasure.stack import ADMIN, NAMESAKE, Stack, of, until_failed

pytestmark = pytest.mark.long


BACKGROUND_KINDS = {RESPOND, BATCH, DELIVER, EVALUATE}


async def test_every_job_kind_has_a_gauge(stack: Stack) -> None:
    of_indexes = {REINDEX, DROP_RETIRED}
    assert {*stack.ingestion.handlers, *stack.erasures.handlers} | {REMEMBER, *BACKGROUND_KINDS} | of_indexes == KINDS


@pytest.mark.usefixtures("planted")
async def test_a_dry_run_counts_and_changes_nothing(stack: Stack):
    before = await stack.rows()
    job = await stack.erase(dry_run=True)
    after = await stack.rows()
    for rows in (before, after):  # that a job ran, and whose turn it was
        rows |= {"jobs": [], "meta": [row for row in rows["meta"] if not row["key"].startswith("turn/")]}
    assert after == before
    counts = (job.result or {})["counts"]
    assert counts | {"jobs": 0} == {
        "users": 1,
        "sessions": 1,
        "batches": 1,
        "files": 1,
        "vector_stores": 2,
        "assistants": 1,
        "prompts": 1,
        "prompt_versions": 2,
        "conversation_items": 1,
        "conversation_summaries": 1,
        "responses": 1,
        "shares": 1,
        "conversations": 1,
        "captures": 3,
        "feedback": 1,
        "memories": 1,
        "turn_vectors": 1,
        "checkpoints": 1,
        "checkpoint_writes": 1,
        "hub_datasets": 1,
        "idempotency_keys": 1,
        "keys": 1,
        "quotas": 2,
        "usage": 1,
        "jobs": 0,
        "access_lists": 8,
        "exports": 0,
    }
    job = await stack.erase()
    assert (job.result or {})["counts"] == counts | {"jobs": counts["jobs"] + 1}  # the dry run names the user too
    assert "zqxalice" not in str([row for row in (await stack.rows())["jobs"] if row["tenant"] == "acme"])


async def test_erasing_an_unknown_user_succeeds(stack: Stack):
    job = await stack.erase("nobody")
    assert job.status == "succeeded"
    assert set((job.result or {})["counts"].values()) == {0}
    assert (await stack.erase("nobody")).id != job.id


async def test_an_admin_can_erase_themselves(stack: Stack):
    await stack.tenants.create("acme")
    for user in (ADMIN.user, "second"):
        await stack.users.create(ADMIN, user, role="admin")
    await Memories(stack.database).add(ADMIN, "a", "is the root")
    job = await stack.erase(ADMIN.user)
    assert job.status == "succeeded"
    assert of(await stack.rows(), "root", "acme") == {}


async def test_the_last_admin_and_the_stacks_own_user_cannot_be_erased(stack: Stack):
    await stack.tenants.create("acme")
    await stack.users.create(ADMIN, ADMIN.user, role="admin")
    await Memories(stack.database).add(ADMIN, "a", "is the root")
    with pytest.raises(Conflict, match="last admin"):
        await stack.erase(ADMIN.user)
    stacks = Principal(tenant="default", user="admin", key_id="key_s", scopes=SCOPES_OF["admin"], role="admin")
    await stack.users.create(stacks, "second", role="admin")
    with pytest.raises(Conflict, match="the stack's own key"):
        await stack.erasures.request(stacks, stacks.user, "", dry_run=False)
    with pytest.raises(InvalidValue):
        await stack.erase(ERASED)
    assert (await stack.erase(ADMIN.user, dry_run=True)).status == "succeeded"
    # One that was not the last when it was asked for.
    await stack.users.create(ADMIN, "second", role="admin")
    job = await stack.erasures.request(ADMIN, ADMIN.user, "", dry_run=False)
    await stack.users.update(ADMIN, "second", role="user")
    await until_failed(stack, job)
    assert of(await stack.rows(), "is the root", "acme") == {"memories": 1}


async def test_erasures_are_visible_to_their_tenant_only(stack: Stack):
    job = await stack.erase()
    assert [j.id for j in (await stack.erasures.list(ADMIN)).items] == [job.id]
    assert (await stack.erasures.list(NAMESAKE)).items == []
    with pytest.raises(NotFound):
        await stack.erasures.get(NAMESAKE, job.id)
