"""Creates tuning jobs, for the hub's routes and for OpenAI's."""

from __future__ import annotations

from typing import Any

from serving.api.services import Services
from serving.config import LlamaCppModel
from serving.core.principal import Principal
from serving.metering.charge import require_storage
from serving.protocol.errors import not_found
from serving.protocol.tuning import JobRequest
from serving.store.errors import NotFound
from serving.store.jobs.queue import Job


async def create_job(s: Services, caller: Principal, request: JobRequest, **more: Any) -> Job:
    """Queues a job. Raises a 404 that names the field of what the caller may not use."""
    s.registry.tuning_jobs.require_enabled()
    await require_storage(s.quotas, s.keeper, caller, stored_bytes=1)
    require_base(s, caller, request.base, "base")
    if request.teacher is not None:
        require_base(s, caller, request.teacher, "teacher")
    try:
        return await s.registry.tuning_jobs.create(caller, request, **more)
    except NotFound as e:
        fields = {request.dataset: "dataset", request.retain: "retain", request.version: "version"}
        raise not_found(e.kind, fields.get(e.id)) from None


def require_base(s: Services, caller: Principal, name: str, param: str) -> None:
    """Raises a 404 unless the caller may call a model of that name whose weights can be tuned here."""
    model = s.catalog.current.router.model(name, caller)
    if not isinstance(model, LlamaCppModel) or model.task != "chat":
        raise not_found("model that can be tuned", param)
