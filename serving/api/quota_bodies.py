"""Bodies of requests about quotas, which are ours."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from serving.config import QuotaLimit, Subject, refuse_measure
from serving.protocol.parts import Body

MOST_AT_ONCE = 100


class QuotaEntry(QuotaLimit):
    """A limit of a subject: the tenant itself, or a user, a key or a model of it, which need not be there yet."""

    subject: Subject
    id: str = Field(min_length=1, max_length=256, description="of the subject; a model's is the name that is asked for")
    set_by: Literal["platform", "tenant"] | None = Field(
        default=None, description="whose limit it is: by default the platform's where the key has that scope"
    )

    @model_validator(mode="after")
    def _uses(self) -> Self:
        refuse_measure(self.subject, self.measure)
        return self


class QuotasRequest(Body):
    """`PUT /v1/admin/quotas`: quotas to set; others stay as they are."""

    quotas: list[QuotaEntry] = Field(min_length=1, max_length=MOST_AT_ONCE)
