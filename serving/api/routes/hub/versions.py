"""`/v1/hub/versions`: versions of models and adapters, their lineage and artefacts."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import orjson
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from serving.api.http import JsonResponse, read_form, read_json
from serving.api.paging import one_of, page_query, page_response, text_query
from serving.api.services import Services
from serving.config import LlamaCppModel, VllmModel
from serving.hub.adapter import AdapterFacts, InvalidAdapter
from serving.hub.adapter_child import prepare_adapter
from serving.hub.base_facts import BaseFacts
from serving.hub.bases import Base, BaseUnreadable
from serving.hub.checks import DIGEST, checked_name
from serving.hub.datasets import Dataset
from serving.hub.lineage import lineage as lineage_of
from serving.hub.names import CONFIG, GGUF, WEIGHTS, Kind, VersionStatus
from serving.hub.versions import Version
from serving.inference.exchange import Exchange
from serving.metering.charge import require_storage, storage_meter
from serving.protocol.errors import ApiError, invalid, unavailable
from serving.protocol.versions import VersionRetirement

FIELDS = ("name", "base", "base_digest", "provenance")

_GGUF_MAGIC = b"GGUF"

_PREPARING = ThreadPoolExecutor(1, thread_name_prefix="adapters")
"""One adapter is checked at a time: it takes a whole CPU."""


@dataclass(frozen=True, slots=True)
class _Registration:
    """What an upload is for."""

    name: str
    base: Base
    base_digest: str | None
    provenance: dict[str, Any]


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Registers an adapter that was trained elsewhere: checks it, and stores it as the next version of its name."""
    # Checked first: a rejected upload need not be received.
    await require_storage(s.quotas, s.keeper, x.caller, stored_bytes=1)
    with x.timeline.during("receive"):
        form = await read_form(request, s.limits, files=2)
    try:
        registration = _registration(s, form, x)
        facts = await _base(s, registration)
        with tempfile.TemporaryDirectory(prefix="headrace-adapter-") as folder:
            await asyncio.to_thread(_save, form, Path(folder))
            found = await _prepared(Path(folder), facts)
            version = await _stored(s, x, registration, facts, found, Path(folder))
    finally:
        await form.close()
    return JsonResponse(render(version))


async def _stored(
    s: Services, x: Exchange, registration: _Registration, base: BaseFacts, found: AdapterFacts, folder: Path
) -> Version:
    async def begin() -> Version:
        version = await s.registry.versions.begin(
            x.caller,
            name=registration.name,
            kind="adapter",
            base=registration.base.name,
            base_digest=base.digest,
            method="registered",
            rank=found.rank,
            recipe={"modules": found.modules, "parameters": found.parameters},
            provenance=registration.provenance,
        )
        await x.record(version.id)
        return version

    version = await s.database.atomically(begin)
    try:
        for file in sorted(folder.iterdir()):
            meter = storage_meter(s.keeper, x.caller, stored_bytes=file.stat().st_size)
            await s.registry.versions.add(x.caller, version.id, file.name, file, meter=meter)
        return await s.registry.versions.finish(x.caller, version.id)
    except Exception:
        await s.registry.versions.reject(x.caller, version.id, "it could not be stored completely")
        raise


def _registration(s: Services, form: FormData, x: Exchange) -> _Registration:
    if unknown := {*form} - {*FIELDS, "weights", "config"}:
        raise invalid(f"The body has fields that are unknown, such as the first of {len(unknown)}.", "body")
    fields = {name: form.get(name) for name in FIELDS}
    for name in ("name", "base"):
        if not fields[name]:
            raise invalid(f"The body needs a field {name}.", name)
    if bad := next((name for name, value in fields.items() if not isinstance(value, str | None)), None):
        raise invalid(f"{bad} must be text.", bad)
    digest = str(fields["base_digest"]) if fields["base_digest"] else None
    if digest is not None and not DIGEST.fullmatch(digest):
        raise invalid("base_digest must have 64 hexadecimal digits.", "base_digest")
    return _Registration(
        checked_name(str(fields["name"])), _model(s, str(fields["base"]), x), digest, _provenance(fields)
    )


def _provenance(fields: dict[str, Any]) -> dict[str, Any]:
    try:
        found = orjson.loads(fields["provenance"] or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise invalid("provenance must be a JSON object.", "provenance")
    return found


def _model(s: Services, name: str, x: Exchange) -> Base:
    model = s.catalog.current.router.model(name, x.caller)
    if model is None:
        raise invalid("base must be a model that you may call.", "base", "model_not_found")
    if not isinstance(model, LlamaCppModel | VllmModel) or model.task != "chat":
        raise invalid("base must be a chat model that llama.cpp or vLLM serves in this stack.", "base")
    return model


async def _base(s: Services, registration: _Registration) -> BaseFacts:
    """Returns the facts of the base; raises a 400 for an adapter of another base."""
    try:
        facts = await s.registry.bases.facts(registration.base)
    except BaseUnreadable as e:
        raise unavailable(f"The base's weights are needed to check an adapter: {e}.") from None
    if not facts.digest:
        if registration.base_digest is None:
            raise invalid("This base's weights are not on this host: name their digest in base_digest.", "base_digest")
        return replace(facts, digest=registration.base_digest)
    if registration.base_digest not in (None, facts.digest):
        raise invalid("The adapter was trained for other weights than the base's.", "base_digest", "wrong_base")
    return facts


def _save(form: FormData, folder: Path) -> None:
    """Writes the uploaded files to a folder, under the names of their format."""
    weights, config = form.get("weights"), form.get("config")
    if not isinstance(weights, UploadFile):
        raise invalid("The body needs a file part named 'weights'.", "weights")
    is_gguf = weights.file.read(len(_GGUF_MAGIC)) == _GGUF_MAGIC
    if is_gguf != (config is None):
        raise invalid("Safetensors need a file part named 'config', and GGUF has none.", "config")
    uploads = {GGUF if is_gguf else WEIGHTS: weights} | ({CONFIG: config} if isinstance(config, UploadFile) else {})
    try:
        for name, upload in uploads.items():
            upload.file.seek(0)
            with (folder / name).open("xb") as file:
                shutil.copyfileobj(upload.file, file)
    except OSError:
        raise _no_room() from None


async def _prepared(folder: Path, base: BaseFacts) -> AdapterFacts:
    try:
        return await asyncio.get_running_loop().run_in_executor(_PREPARING, prepare_adapter, folder, base)
    except OSError:
        raise _no_room() from None
    except InvalidAdapter as e:
        raise invalid(f"The adapter cannot be used: {e}.", "weights", "invalid_adapter") from None


def _no_room() -> ApiError:
    return unavailable("This gateway's disk has no room for the adapter.")


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the tenant's versions, newest first."""
    found = await s.registry.versions.list(
        x.caller,
        name=text_query(request, "name", 63),
        kind=one_of(request.query_params.get("kind"), "kind", get_args(Kind)),  # type: ignore[arg-type]
        status=one_of(request.query_params.get("status"), "status", get_args(VersionStatus)),  # type: ignore[arg-type]
        **page_query(request),
    )
    return page_response(found, render)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a version."""
    return JsonResponse(render(await s.registry.versions.get(x.caller, request.path_params["version_id"])))


async def lineage(s: Services, request: Request, x: Exchange) -> Response:
    """Returns what a version was made from, and what was made from it."""
    found = await lineage_of(s.database, x.caller, request.path_params["version_id"])
    return JsonResponse(
        {
            "object": "hub.lineage",
            "version": render(found.version),
            "ancestors": [render(each) for each in found.ancestors],
            "descendants": [render(each) for each in found.descendants],
            "datasets": [_dataset(each) for each in found.datasets],
        }
    )


async def content(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the bytes of an artefact, as a download."""
    id, name = request.path_params["version_id"], request.path_params["artefact"]
    artefact, body = await s.registry.versions.artefact(x.caller, id, name)
    headers = {
        "content-length": str(artefact.bytes),
        "content-disposition": f'attachment; filename="{artefact.name}"',
        "etag": f'"{artefact.sha256}"',
    }
    x.timeline.end_of("respond")
    x.timeline.under_way = "send"  # as fast as the caller reads it
    return StreamingResponse(body, headers=headers, media_type="application/octet-stream")


async def retire(s: Services, request: Request, x: Exchange) -> Response:
    """Retires a version, which is then not served any more; its files can be deleted."""
    id = request.path_params["version_id"]
    body = await read_json(request, VersionRetirement, s.limits)

    async def end() -> Version:
        version = await s.registry.versions.get(x.caller, id)
        if version.status != "rejected":
            version = await s.registry.versions.retire(x.caller, id, body.reason)
        await x.record(id)
        return version

    version = await s.database.atomically(end)
    if body.delete_artefacts and version.deleted_at is None:
        version = await s.registry.versions.delete_artefacts(x.caller, id)
    return JsonResponse(render(version))


def render(version: Version) -> dict[str, Any]:
    """Returns a version as the API's document."""
    return {
        "id": version.id,
        "object": "hub.version",
        "name": version.name,
        "number": version.number,
        "kind": version.kind,
        "status": version.status,
        "reason": version.reason or None,
        "base": version.base,
        "base_digest": version.base_digest,
        "method": version.method,
        "rank": version.rank,
        "artefacts": [asdict(each) for each in version.artefacts],
        "bytes": version.bytes,
        "recipe": version.recipe,
        "dataset": version.dataset,
        "parents": list(version.parents),
        "provenance": version.provenance,
        "card": version.card,
        "job": version.job,
        "created_at": int(version.created_at),
        "created_by": version.created_by,
        "ready_at": _seconds(version.ready_at),
        "retired_at": _seconds(version.retired_at),
        "deleted_at": _seconds(version.deleted_at),
    }


def _dataset(dataset: Dataset) -> dict[str, Any]:
    return {
        "id": dataset.id,
        "object": "hub.dataset",
        "format": dataset.format,
        "status": dataset.status,
        "digest": dataset.digest,
        "counts": dataset.counts,
        "created_at": int(dataset.created_at),
    }


def _seconds(at: float | None) -> int | None:
    return int(at) if at is not None else None
