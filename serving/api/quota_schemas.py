"""Bodies of requests about quotas, which are ours."""

from __future__ import annotations

from pydantic import Field

from serving.api.schemas import Body
from serving.config import QuotaLimit, Subject

MOST_AT_ONCE = 100


class QuotaEntry(QuotaLimit):
    """A limit of a subject: the tenant itself, or a user, a key or a model of it, which need not be there yet."""

    subject: Subject
    id: str = Field(min_length=1, max_length=256, description="of the subject; a model's is the name that is asked for")


class QuotasRequest(Body):
    """`PUT /v1/admin/quotas`: quotas to set; others stay as they are."""

    quotas: list[QuotaEntry] = Field(min_length=1, max_length=MOST_AT_ONCE)
