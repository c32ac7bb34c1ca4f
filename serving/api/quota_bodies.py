"""Bodies of requests about quotas, which OpenAI's API lacks."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from serving.config import QuotaLimit, Subject, refuse_measure
from serving.protocol.parts import Body

MOST_AT_ONCE = 100


class QuotaEntry(QuotaLimit):
    """A limit of a subject: the tenant, or one of its users, keys or models, which need not exist yet."""

    subject: Subject
    id: str = Field(min_length=1, max_length=256, description="id of the subject; for a model, the requested name")
    set_by: Literal["platform", "tenant"] | None = Field(
        default=None, description="who sets the limit: by default the platform if the key has that scope"
    )

    @model_validator(mode="after")
    def _uses(self) -> Self:
        refuse_measure(self.subject, self.measure)
        return self


class QuotasRequest(Body):
    """`PUT /v1/admin/quotas`: quotas to set; others stay as they are."""

    quotas: list[QuotaEntry] = Field(min_length=1, max_length=MOST_AT_ONCE)
