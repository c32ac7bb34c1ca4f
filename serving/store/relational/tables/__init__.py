"""The tables. Every row has its tenant; times are unix seconds.

A change here needs a migration: a test compares the two.
"""

from serving.store.relational.tables.answers import (
    captures,
    feedback,
    idempotency_answers,
    idempotency_keys,
    responses,
    used_approvals,
)
from serving.store.relational.tables.assistants import assistant_versions, assistants
from serving.store.relational.tables.audit_log import audit, audit_pseudonyms
from serving.store.relational.tables.background import COUNTED, RUNNING, UNFINISHED, exports, jobs
from serving.store.relational.tables.base import CHECKED, ID, IDS, NAME, Base64, Id, Name, meta, metadata
from serving.store.relational.tables.batches import ANSWERED, batch_lines, batches, webhooks
from serving.store.relational.tables.checkpoints import checkpoint_writes, checkpoints
from serving.store.relational.tables.documents import (
    file_batch_files,
    file_batches,
    files,
    vector_store_files,
    vector_stores,
)
from serving.store.relational.tables.history import (
    conversation_items,
    conversation_summaries,
    conversations,
    memories,
    turn_vectors,
)
from serving.store.relational.tables.hub import (
    hub_consents,
    hub_dataset_people,
    hub_datasets,
    hub_parents,
    hub_versions,
)
from serving.store.relational.tables.hub_releases import hub_evaluations, hub_releases, hub_scores, hub_suites
from serving.store.relational.tables.identity import keys, sessions, tenants, users
from serving.store.relational.tables.metering import quota_streams, quota_windows, quotas, usage
from serving.store.relational.tables.prompts import prompt_labels, prompt_versions, prompts
from serving.store.relational.tables.sharing import shares

__all__ = [
    "ANSWERED",
    "CHECKED",
    "COUNTED",
    "ID",
    "IDS",
    "NAME",
    "RUNNING",
    "UNFINISHED",
    "Base64",
    "Id",
    "Name",
    "assistant_versions",
    "assistants",
    "audit",
    "audit_pseudonyms",
    "batch_lines",
    "batches",
    "captures",
    "checkpoint_writes",
    "checkpoints",
    "conversation_items",
    "conversation_summaries",
    "conversations",
    "exports",
    "feedback",
    "file_batch_files",
    "file_batches",
    "files",
    "hub_consents",
    "hub_dataset_people",
    "hub_datasets",
    "hub_evaluations",
    "hub_parents",
    "hub_releases",
    "hub_scores",
    "hub_suites",
    "hub_versions",
    "idempotency_answers",
    "idempotency_keys",
    "jobs",
    "keys",
    "memories",
    "meta",
    "metadata",
    "prompt_labels",
    "prompt_versions",
    "prompts",
    "quota_streams",
    "quota_windows",
    "quotas",
    "responses",
    "sessions",
    "shares",
    "tenants",
    "turn_vectors",
    "usage",
    "used_approvals",
    "users",
    "vector_store_files",
    "vector_stores",
    "webhooks",
]
