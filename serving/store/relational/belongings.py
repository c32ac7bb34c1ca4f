"""Which rows belong to a user: one condition per table."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table, and_, or_, select

from serving.store.jobs.job import ERASE
from serving.store.relational.tables import (
    assistants,
    batches,
    captures,
    checkpoint_writes,
    checkpoints,
    conversation_items,
    conversation_summaries,
    conversations,
    feedback,
    files,
    hub_dataset_people,
    idempotency_keys,
    jobs,
    keys,
    memories,
    prompt_versions,
    prompts,
    quotas,
    responses,
    sessions,
    shares,
    turn_vectors,
    usage,
    users,
    vector_store_files,
    vector_stores,
)
from serving.store.vector_stores import INGEST


def rows_of_user(table: Table, tenant: str, user: str) -> ColumnElement[bool]:
    """Returns the condition for a user's rows in a table."""
    mine = and_(captures.c.tenant == tenant, captures.c.user == user)
    if table is conversations:
        talks = select(captures.c.conversation_id).where(mine, captures.c.conversation_id.is_not(None))
        recalled = select(turn_vectors.c.conversation_id).where(rows_of_user(turn_vectors, tenant, user))
        return _owned(table, tenant, user, or_(table.c.id.in_(talks), table.c.id.in_(recalled)))
    if table is responses:
        talks = select(conversations.c.id).where(rows_of_user(conversations, tenant, user))
        asked = select(captures.c.id).where(mine)
        return _owned(table, tenant, user, or_(table.c.id.in_(asked), table.c.conversation_id.in_(talks)))
    if table in (conversation_items, conversation_summaries):
        talks = select(conversations.c.id).where(rows_of_user(conversations, tenant, user))
        return and_(table.c.tenant == tenant, table.c.conversation_id.in_(talks))
    if table is files:
        ingested = select(jobs.c.group_item).where(
            jobs.c.tenant == tenant, jobs.c.user == user, jobs.c.kind == INGEST, jobs.c.group_item.is_not(None)
        )
        return _owned(table, tenant, user, table.c.id.in_(ingested))
    if table is jobs:
        about = and_(jobs.c.kind == ERASE, jobs.c.payload["user"].as_string() == user)
        return and_(table.c.tenant == tenant, or_(table.c.user == user, about))
    if table is quotas:
        held = select(keys.c.id).where(rows_of_user(keys, tenant, user))
        own = or_(
            and_(table.c.subject == "user", table.c.subject_id == user),
            and_(table.c.subject == "key", table.c.subject_id.in_(held)),
        )
        return and_(table.c.tenant == tenant, own)
    return and_(table.c.tenant == tenant, table.c.user == user)


def _owned(table: Table, tenant: str, user: str, older: ColumnElement[bool]) -> ColumnElement[bool]:
    """Returns the condition for rows owned by the user, and for rows from versions without owners that
    match `older`.
    """
    return and_(table.c.tenant == tenant, or_(table.c.user == user, and_(table.c.user.is_(None), older)))


CLASSES: dict[str, Table] = {
    "users": users,
    "sessions": sessions,
    "batches": batches,
    "files": files,
    "vector_stores": vector_stores,
    "assistants": assistants,
    "prompts": prompts,
    "prompt_versions": prompt_versions,
    "conversation_items": conversation_items,
    "conversation_summaries": conversation_summaries,
    "responses": responses,
    "shares": shares,
    "conversations": conversations,
    "captures": captures,
    "feedback": feedback,
    "memories": memories,
    "turn_vectors": turn_vectors,
    "checkpoints": checkpoints,
    "checkpoint_writes": checkpoint_writes,
    "hub_datasets": hub_dataset_people,
    "idempotency_keys": idempotency_keys,
    "keys": keys,
    "quotas": quotas,
    "usage": usage,
    "jobs": jobs,
}

CONTENT = (
    *(batches, files, vector_stores, assistants, prompts),
    *(responses, conversations, captures, memories, checkpoints),
)
"""Tables of what a user stores, without what belongs to its rows."""

LISTS = (files, vector_stores, vector_store_files, assistants)
"""Tables with access lists, which name users."""
