"""The common base of all tables: metadata, types of columns, and the table with the format's number."""

from __future__ import annotations

import base64
import re

from sqlalchemy import Column, Dialect, LargeBinary, MetaData, String, Table, Text, TypeDecorator

IDS = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

_SURROGATES = re.compile("[\ud800-\udfff]")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Id(TypeDecorator[str]):
    """An id. An impossible id (a lone surrogate, NUL, a very long one) matches no row, instead of failing in the
    driver.
    """

    impl = String(64)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value if value is None or IDS.fullmatch(value) else ""


class Name(TypeDecorator[str]):
    """A name that callers can choose. Like `Id`, an impossible name matches no row."""

    impl = String(256)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return value if value is None or ("\0" not in value and not _SURROGATES.search(value)) else ""


class Base64(TypeDecorator[str]):
    """Bytes, which are base64 outside of the database: a backup's lines are JSON."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        return None if value is None else base64.b64decode(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        return None if value is None else base64.b64encode(value).decode()


ID = Id()

NAME = String(256)

CHECKED = String(32)
"""The guardrails that a text passed when it was stored; NULL if none read it."""

meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
