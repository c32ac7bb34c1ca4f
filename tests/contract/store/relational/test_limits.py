"""How many rows of a kind a tenant may have, where no quota counts them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType

import pytest

from serving.config import Managed
from serving.core.principal import STACK, Principal
from serving.hub import evaluations, releases
from serving.hub.artefacts import Artefacts
from serving.hub.evaluation.suite import Suite
from serving.hub.evaluations import Evaluations
from serving.hub.releases import Releases
from serving.hub.suites import Suites
from serving.hub.versions import Versions
from serving.store import keys, users, vector_stores
from serving.store.attachments import file_batches
from serving.store.attachments.attaching import NewFile
from serving.store.attachments.file_batches import FileBatches
from serving.store.background import batches
from serving.store.background.batches import Batches
from serving.store.errors import TooMany
from serving.store.jobs.queue import Jobs
from serving.store.keys import Keys
from serving.store.objects.places import Folder
from serving.store.relational.database import Database
from serving.store.users import Users
from serving.store.vector_stores import VectorStores

ADMIN = Principal(STACK, "admin", "k")

Make = Callable[[int], Awaitable[object]]


@pytest.fixture
async def makes(database: Database, jobs: Jobs, tmp_path: Path, add_file) -> dict[str, tuple[ModuleType, Make]]:
    """By the name of its limit: what makes the nth row."""
    stores, versions = VectorStores(database, jobs), Versions(database, Artefacts(Folder(tmp_path)))
    file, store = await add_file(ADMIN), await stores.create(ADMIN)
    asked = {"id": "p", "messages": "?", "checks": [{"kind": "exact", "text": "x"}]}
    suite = (await Suites(database).create(ADMIN, Suite.model_validate({"name": "s", "prompts": [asked]}))).id
    measuring, released = Evaluations(database, jobs, versions), Releases(database)
    sent = {"caller": {}, "endpoint": "/v1/embeddings", "input_file_id": file, "lasts_s": 60.0, "metadata": None}
    managed, usable = Managed(base="base"), lambda model: True
    return {
        "MAX_STORES": (vector_stores, lambda n: stores.create(ADMIN)),
        "MAX_KEYS": (keys, lambda n: Keys(database).add(ADMIN, f"{n}" * 64, name="k")),
        "MAX_USERS": (users, lambda n: Users(database).create(ADMIN, f"user-{n}")),
        "MAX_BATCHES": (batches, lambda n: Batches(database, jobs).create(ADMIN, **sent)),  # type: ignore[arg-type]
        "MAX_BATCHES of files": (
            file_batches,
            lambda n: FileBatches(database, jobs).create(ADMIN, store.id, [NewFile(file)]),
        ),
        "MAX_EVALUATIONS": (
            evaluations,
            lambda n: measuring.create(ADMIN, suite, "m", against=None, version=None, caller={}),
        ),
        "MAX_RELEASES": (
            releases,
            lambda n: released.create(ADMIN, f"alias-{n}", "b", managed=managed, share=0.1, usable=usable),
        ),
    }


@pytest.mark.parametrize(
    "limit",
    [
        "MAX_STORES",
        "MAX_KEYS",
        "MAX_USERS",
        "MAX_BATCHES",
        "MAX_BATCHES of files",
        "MAX_EVALUATIONS",
        "MAX_RELEASES",
    ],
)
async def test_a_tenant_has_a_limited_number(
    makes: dict[str, tuple[ModuleType, Make]], monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    module, make = makes[limit]
    before = 1 if limit in ("MAX_STORES", "MAX_USERS") else 0
    monkeypatch.setattr(module, limit.split()[0], before + 2)
    for n in range(2):
        await make(n)
    with pytest.raises(TooMany, match=f"{before + 2} "):
        await make(2)
