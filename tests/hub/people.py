"""Whose data is in which data set."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.relational.database import Database
from serving.store.relational.tables import hub_dataset_people


@uninterrupted
async def datasets_of_person(database: Database, principal: Principal, user: str) -> Sequence[str]:
    """Returns the ids of the tenant's data sets that contain data of a user."""
    of = hub_dataset_people.c
    query = select(of.dataset).where(of.tenant == principal.tenant, of.user == user).order_by(of.dataset)
    async with database.read() as connection:
        return (await connection.execute(query)).scalars().all()
