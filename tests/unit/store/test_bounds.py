"""That everything which requests of a tenant can make grow has a quota or a limit: tables, folders and kinds of jobs.

A new one fails here until its bound is named. What counts as stored bytes is compared with what the quota reads.
"""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import create_engine, event

import serving
from serving.config import ServingConfig
from serving.config.quotas import Measure
from serving.quotas.quota import Quota
from serving.store import quotas
from serving.store.objects import data
from serving.store.relational.tables import metadata

NOT_BY_TENANTS = {
    "exports",  # a command of the operator
    "meta",  # the format, and turns: one row for each kind of worker
    "tenants",  # keys with the scope `platform` alone
}

# `quota:MEASURE` counts it; `limit:MODULE.NAME` and `setting:FIELD.FIELD` bound it; `with:TABLE` has a bounded number
# of rows for each row of that table.
TABLES: dict[str, tuple[str, ...]] = {
    "assistant_versions": ("limit:assistants.register.MAX_BYTES", "limit:assistants.register.MAX_VERSIONS"),
    "assistants": ("setting:limits.assistants",),
    "audit": ("setting:retention.audit", "limit:store.audit.MAX_DETAIL"),  # one event of each change
    "audit_pseudonyms": ("with:users",),
    "batch_lines": ("with:batches", "limit:api.background.batch_input.MAX_LINES"),
    "batches": (
        "quota:stored_bytes",
        "limit:store.background.batches.MAX_BATCHES",
        "limit:store.background.batches.MAX_OUTPUT",
    ),
    "captures": ("quota:requests", "quota:tokens", "setting:retention.captures"),
    "checkpoint_writes": ("with:checkpoints", "limit:store.apps.checkpoints.MAX_WRITES"),
    "checkpoints": ("limit:store.apps.checkpoints.MAX_THREAD_BYTES", "with:conversations"),
    "conversation_items": ("quota:items", "quota:requests", "quota:tokens"),
    "conversation_summaries": ("with:conversations", "limit:store.summaries.MAX_CHARACTERS"),
    "conversations": ("quota:items",),
    "feedback": ("quota:stored_bytes", "quota:items", "limit:store.feedback.MAX_OF_TARGET"),
    "file_batch_files": ("with:file_batches", "limit:protocol.vector_stores.MAX_BATCHED_FILES"),
    "file_batches": ("limit:store.attachments.file_batches.MAX_BATCHES",),
    "files": ("quota:stored_bytes", "quota:files", "setting:limits.upload_bytes"),
    "hub_consents": ("with:hub_versions", "limit:hub.consents.MAX_CONSENTS"),
    "hub_dataset_people": ("with:hub_datasets", "with:users"),
    "hub_datasets": ("quota:stored_bytes", "limit:hub.jobs.freezing.MAX_BUILDING", "limit:hub.jobs.freezing.MAX_ROWS"),
    "hub_evaluations": ("limit:hub.evaluations.MAX_EVALUATIONS",),
    "hub_parents": ("with:hub_versions", "limit:hub.versions.MAX_PARENTS"),
    "hub_releases": ("limit:hub.releases.MAX_RELEASES",),
    "hub_scores": ("with:hub_evaluations", "with:hub_suites"),
    "hub_suites": ("limit:hub.suites.MAX_SUITES",),
    "hub_versions": ("quota:stored_bytes", "limit:hub.artefacts.MAX_BYTES"),
    "idempotency_answers": ("with:idempotency_keys", "limit:store.idempotency.MAX_BODY"),
    "idempotency_keys": ("limit:store.idempotency.KEPT_S", "quota:requests"),
    "jobs": ("quota:stored_bytes", "limit:retrieval.replica.KEEP_JOBS_S"),  # and those of each kind, in JOBS
    "keys": ("limit:store.keys.MAX_KEYS", "limit:store.keys.MAX_ENDED", "with:users"),
    "memories": ("limit:store.memories.MAX_OWN", "with:users", "with:assistants"),
    "prompt_labels": ("with:prompts", "limit:store.prompts.prompts.MAX_LABELS"),
    "prompt_versions": ("limit:store.prompts.prompts.MAX_BYTES", "limit:store.prompts.prompts.MAX_VERSIONS"),
    "prompts": ("limit:store.prompts.prompts.MAX_PROMPTS",),
    "quota_streams": ("with:quotas", "limit:store.quotas.KEPT_S"),
    "quota_windows": ("with:quotas", "limit:store.quotas.KEPT_S"),
    "quotas": ("limit:store.quotas.MOST",),
    "responses": ("quota:requests", "quota:tokens", "setting:limits.background_responses"),
    "sessions": ("setting:oidc.session_hours", "with:users"),
    "shares": ("limit:store.sharing.shares.MAX_OPEN", "with:users"),
    "turn_vectors": ("with:conversation_items",),
    "usage": ("with:keys",),  # a row for each day and model
    "used_approvals": ("limit:store.used_approvals.KEPT_S", "quota:requests"),
    "users": ("limit:store.users.MAX_USERS",),
    "vector_store_files": ("quota:stored_bytes", "quota:attachments", "limit:protocol.vector_stores.MAX_REPEATED"),
    "vector_stores": ("quota:stored_bytes", "limit:store.vector_stores.MAX_STORES"),
    "webhooks": ("limit:store.background.webhooks.MAX_WEBHOOKS",),
}

FOLDERS: dict[str, tuple[str, ...]] = {
    "files": ("quota:stored_bytes", "quota:files"),
    "collections": ("quota:stored_bytes", "quota:attachments"),
    "hub": ("quota:stored_bytes", "limit:hub.artefacts.MAX_BYTES"),
}

JOBS: dict[str, tuple[str, ...]] = {
    "batch": ("limit:store.background.batches.MAX_UNFINISHED",),
    "compact_database": ("limit:security.erasure.MAX_WAITING",),  # one after the erasures
    "delete_blob": ("with:files",),
    "deliver_webhook": ("limit:store.background.webhooks.MAX_WAITING", "limit:store.background.webhooks.ATTEMPTS"),
    "drop_index": ("with:vector_stores",),
    "drop_retired_index": ("with:vector_stores",),
    "erase_user": ("limit:security.erasure.MAX_WAITING",),
    "evaluate": ("limit:hub.evaluations.MAX_UNFINISHED",),
    "freeze_dataset": ("limit:hub.jobs.freezing.MAX_BUILDING",),
    "ingest_file": ("quota:attachments", "with:vector_store_files"),
    "optimize_index": ("with:vector_stores",),
    "purge_index": ("with:vector_stores",),
    "build_index": ("with:vector_stores",),
    "remember": ("quota:requests", "quota:items"),
    "respond": (
        "setting:limits.background_responses",
        "setting:limits.background_bytes",
        "quota:stored_bytes",
        "quota:tokens",
    ),
    "tune": ("limit:hub.jobs.tuning.MAX_UNFINISHED",),
    "unindex_file": ("with:vector_store_files",),
}

BOUNDS = {**TABLES, **{f"{name}/": of for name, of in FOLDERS.items()}, **{f"{k} jobs": of for k, of in JOBS.items()}}


def test_every_table_has_a_bound() -> None:
    assert set(metadata.tables) == set(TABLES) | NOT_BY_TENANTS
    assert not set(TABLES) & NOT_BY_TENANTS


def test_every_folder_has_a_bound() -> None:
    assert set(data.FOLDERS) == set(FOLDERS)


def test_every_kind_of_job_has_a_bound() -> None:
    assert queued_kinds() == set(JOBS)


@pytest.mark.parametrize("bound", sorted({bound for of in BOUNDS.values() for bound in of}))
def test_the_bounds_exist(bound: str) -> None:
    how, _, name = bound.partition(":")
    if how == "quota":
        assert name in get_args(Measure)
    elif how == "with":
        assert name in TABLES
    elif how == "setting":
        section, field = name.split(".")
        kind = ServingConfig.model_fields[section].annotation
        assert kind is not None
        default = kind.model_fields[field].get_default(call_default_factory=True)  # ty: ignore[missing-attribute]
        assert isinstance(default, int | float), "a limit that is not set limits nothing"
        assert default > 0
    else:
        assert how == "limit"
        module, _, constant = f"serving.{name}".rpartition(".")
        value = getattr(importlib.import_module(module), constant)
        assert isinstance(value, int | float)
        assert value > 0
        assert len(re.findall(rf"\b{constant}\b", uses(module))) > 1, "nothing asks for it"


@pytest.mark.parametrize("table", TABLES)
def test_bounds_end_at_a_quota_or_a_limit(table: str) -> None:
    """Tables whose rows follow those of others do not follow each other."""
    seen, left = set(), [table]
    found = False
    while left and not found:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            found = any(not bound.startswith("with:") for bound in TABLES[name])
            left += [bound.removeprefix("with:") for bound in TABLES[name] if bound.startswith("with:")]
    assert found


def test_the_quota_of_stored_bytes_reads_what_it_is_named_for() -> None:
    engine, asked = create_engine("sqlite://"), list[str]()
    metadata.create_all(engine)
    event.listen(engine, "before_cursor_execute", lambda _c, _k, statement, *_: asked.append(statement))
    with engine.connect() as connection:
        for subject in ("tenant", "user"):
            quota = Quota("q", "t", subject, "t", "total", "stored_bytes", "", 1)  # type: ignore[arg-type]
            quotas.meter([(quota, 1)], 0.0)(connection)
    read = {name for statement in asked for name in re.findall(r"(?:FROM|JOIN) (\w+)", statement)}
    assert read == {name for name, of in TABLES.items() if "quota:stored_bytes" in of}


@cache
def uses(module: str) -> str:
    """The text of a module, and of those that import its names."""
    own = Path(str(importlib.import_module(module).__file__))
    others = (path for path in sources() if f"from {module} import" in path.read_text())
    return "\n".join(path.read_text() for path in (own, *others))


@cache
def sources() -> tuple[Path, ...]:
    return tuple(sorted(Path(serving.__file__).parent.rglob("*.py")))


def queued_kinds() -> set[str]:
    """The kinds of jobs that the code queues: the constants that are given to the queue's functions."""
    trees = [ast.parse(path.read_text()) for path in sources()]
    values: dict[str, str] = {}
    for tree in trees:
        for node in tree.body:
            named = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            value = getattr(node, "value", None)
            if isinstance(named, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                values.setdefault(named.id, value.value)
    kinds = set[str]()
    for call in (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in ("enqueue", "enqueue_all", "_enqueue", "add_job"):
            kind = call.args[2 if name == "add_job" else 1]
            if isinstance(kind, ast.Name) and kind.id.isupper():
                kinds.add(values[kind.id])
            elif name != "_enqueue":  # passed on
                assert ast.unparse(kind) in ("kind", "context.job.kind", "job.kind"), ast.unparse(kind)
    return kinds
