"""`/v1/fine_tuning/jobs`: OpenAI's fine-tuning, in front of the hub's jobs."""

from __future__ import annotations

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.hub.tuning import create_job, require_base
from serving.api.paging import page_document, page_query, page_response
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.protocol.errors import invalid, not_found
from serving.protocol.tuning import (
    MAX_VERSION_NAME,
    DatasetRequest,
    DpoHyperparameters,
    FineTuningRequest,
    JobRequest,
    Recipe,
    SftHyperparameters,
)
from serving.store.errors import NotFound
from serving.store.jobs.queue import Job
from serving.store.relational.rows import Page

EPOCHS, BATCH, RATE = 3, 8, 5e-4
"""What `auto` stands for. A multiplier of the learning rate multiplies this one."""


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Queues a job that tunes a model by the rows of an uploaded file."""
    body = await read_json(request, FineTuningRequest, s.limits)
    s.registry.tuning_jobs.require_enabled()
    require_base(s, x.caller, body.model, "model")
    by_pairs = body.method is not None and body.method.type == "dpo"
    chosen = _hyperparameters(body)
    for param, id in (("training_file", body.training_file), ("validation_file", body.validation_file)):
        try:
            if id is not None and (await s.files.get(x.caller, id)).purpose != "fine-tune":
                raise invalid("The file must have been uploaded with the purpose fine-tune.", param)
        except NotFound:
            raise not_found("file", param) from None
    batch = BATCH if chosen.batch_size == "auto" else chosen.batch_size
    epochs = EPOCHS if chosen.n_epochs == "auto" else chosen.n_epochs
    multiplier = 1.0 if chosen.learning_rate_multiplier == "auto" else chosen.learning_rate_multiplier
    recipe: dict[str, Any] = {
        "epochs": epochs,
        "batch": batch,
        "learning_rate": RATE * multiplier,
        "seed": body.seed or 0,
    }
    if isinstance(chosen, DpoHyperparameters) and chosen.beta != "auto":
        recipe["beta"] = chosen.beta
    rows = DatasetRequest(
        format="openai-preference" if by_pairs else "openai-chat",
        file=body.training_file,
        validation_file=body.validation_file,
    )
    front = {
        "training_file": body.training_file,
        "validation_file": body.validation_file,
        "hyperparameters": {"n_epochs": epochs, "batch_size": batch, "learning_rate_multiplier": multiplier},
        "suffix": body.suffix,
        "metadata": body.metadata,
    }

    async def begin() -> Job:
        dataset = await s.registry.dataset_requests.create(x.caller, rows)
        made = JobRequest(
            method="dpo" if by_pairs else "sft",
            name=_name(body),
            base=body.model,
            dataset=dataset.id,
            recipe=Recipe(**recipe),
        )
        return await create_job(s, x.caller, made, front=front)

    return JsonResponse(_render(await s.database.atomically(begin)))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the tenant's jobs, newest first."""
    query = page_query(request)
    return page_response(
        await s.registry.tuning_jobs.list(x.caller, after=query["after"], limit=query["limit"]), _render
    )


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a job."""
    return JsonResponse(_render(await s.registry.tuning_jobs.get(x.caller, request.path_params["job_id"])))


async def cancel(s: Services, request: Request, x: Exchange) -> Response:
    """Cancels a job."""
    id = request.path_params["job_id"]
    if not (await s.registry.tuning_jobs.get(x.caller, id)).can_be_cancelled:
        x.unchanged()
    return JsonResponse(_render(await s.registry.tuning_jobs.cancel(x.caller, id)))


async def list_events(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the events of a job, newest first."""
    query = page_query(request)
    job = await s.registry.tuning_jobs.get(x.caller, request.path_params["job_id"])
    found = [_event(job, n, event) for n, event in await s.registry.tuning_jobs.events(x.caller, job.id)][::-1]
    after = next((at + 1 for at, event in enumerate(found) if event["id"] == query["after"]), 0)
    page = found[after : after + query["limit"]]
    return JsonResponse(page_document(Page(page, len(found) > after + len(page)), dict))


def _hyperparameters(body: FineTuningRequest) -> Any:
    """Returns the settings of the method: those of `method`, or the older field of OpenAI's."""
    if body.method is None:
        return body.hyperparameters or SftHyperparameters()
    if body.hyperparameters is not None:
        raise invalid("hyperparameters cannot be combined with method, which has its own.", "hyperparameters")
    other = "supervised" if body.method.type == "dpo" else "dpo"
    if getattr(body.method, other) is not None:
        raise invalid(f"method.{other} does not belong to the type {body.method.type}.", f"method.{other}")
    if body.method.type == "dpo":
        return body.method.dpo.hyperparameters if body.method.dpo is not None else DpoHyperparameters()
    return body.method.supervised.hyperparameters if body.method.supervised is not None else SftHyperparameters()


def _name(body: FineTuningRequest) -> str:
    """Returns the name of the versions: from the suffix, or else from the model."""
    name = re.sub(r"[^a-z0-9]+", "-", (body.suffix or body.model).lower()).strip("-")[:MAX_VERSION_NAME].strip("-")
    if not name:
        raise invalid("suffix must have letters or digits.", "suffix")
    return name


def _render(job: Job) -> dict[str, Any]:
    """Returns a job in OpenAI's format. Jobs of the hub's own routes have no training file."""
    request = JobRequest.model_validate(job.payload["request"])
    front = job.payload.get("front") or {}
    hyperparameters = front.get("hyperparameters") or {}
    kind = "dpo" if request.method == "dpo" else "supervised"
    failed = {"code": job.error_code, "message": job.error_message, "param": None}
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": int(job.created_at),
        "finished_at": int(job.finished_at) if job.finished_at is not None else None,
        "estimated_finish": None,
        "model": request.base,
        "fine_tuned_model": (job.result or {}).get("version"),
        "organization_id": job.tenant,
        "status": job.status,
        "error": failed if job.status == "failed" else None,
        "training_file": front.get("training_file") or request.dataset or "",
        "validation_file": front.get("validation_file"),
        "result_files": [],
        "hyperparameters": hyperparameters,
        "method": {"type": kind, kind: {"hyperparameters": hyperparameters}},
        "seed": request.recipe.seed,
        "trained_tokens": None,
        "user_provided_suffix": front.get("suffix"),
        "integrations": [],
        "metadata": front.get("metadata"),
    }


def _event(job: Job, number: int, event: dict[str, Any]) -> dict[str, Any]:
    """Returns an event of a job in OpenAI's format."""
    metrics = event["event"] == "step"
    return {
        "id": f"{job.id}-{number}",
        "object": "fine_tuning.job.event",
        "created_at": int((job.started_at or job.created_at) + event.get("seconds", 0)),
        "level": "error" if event["event"] == "failed" else "info",
        "message": _message(event),
        "type": "metrics" if metrics else "message",
        "data": {"step": event["step"], "train_loss": event.get("loss")} if metrics else None,
    }


def _message(event: dict[str, Any]) -> str:
    match event["event"]:
        case "step":
            return f"Step {event['step']}/{event['of']}: training loss={event.get('loss')}"
        case "failed":
            return str(event["message"])
        case "stage":
            return f"Stage: {event['stage']}"
        case other:
            return str(other).capitalize().replace("_", " ")
