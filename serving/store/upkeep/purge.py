"""Indexes that may still contain removed data on disk."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, and_, case, func, or_, select

from serving.store.jobs.job import Job
from serving.store.relational.tables import jobs, vector_stores
from serving.store.vector_store import PURGE_INDEX


def unpurged(job: Job, until: float) -> Select[Any]:
    """Returns the query for the tenant's vector stores, created before unix time `until`, that an erasure has yet to
    purge.

    If a store's newest job is a purge, its index is clean. The others are purged once, and again if the erasure itself
    removed something since. Only jobs change an index, so their numbers determine this.
    """
    of = jobs.c
    purge = of.kind == PURGE_INDEX
    own = of.user == job.id
    newest = (
        select(
            of.group_key,
            func.max(of.seq).label("any"),
            func.max(case((and_(purge, of.status == "succeeded"), of.seq))).label("purged"),
            func.max(case((own, of.seq))).label("own"),
            func.max(case((and_(own, purge), of.seq))).label("own_purge"),
        )
        .where(of.tenant == job.tenant, of.group_key.is_not(None))
        .group_by(of.group_key)
        .subquery()
    )
    numbers, store = newest.c, vector_stores.c
    changed = or_(numbers.purged.is_(None), numbers.purged < numbers.any)
    due = or_(numbers.own_purge.is_(None), numbers.own_purge < numbers.own)
    known = or_(store.created_at <= until, numbers.own.is_not(None))
    found = vector_stores.outerjoin(newest, numbers.group_key == store.id)
    return select(store.id).select_from(found).where(store.tenant == job.tenant, changed, due, known).order_by(store.id)
