"""Which indexes may keep on disk what was taken out of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, and_, case, func, or_, select

from serving.store.jobs.job import Job
from serving.store.relational.tables import jobs, vector_stores
from serving.store.vector_store import PURGE_INDEX


def unpurged(job: Job, until: float) -> Select[Any]:
    """The tenant's vector stores, of those made before unix time `until`, that an erasure has still to have purged.

    One whose newest job is a purge is as that left it. Of the others each is purged once, and again where the erasure
    itself took something out since. Only jobs change an index, so their numbers tell.
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
