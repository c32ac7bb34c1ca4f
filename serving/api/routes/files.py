"""`/v1/files`: uploads, limited in size and checked by content."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from serving.api.background.batches import LINES_KIND
from serving.api.http import JsonResponse, read_form
from serving.api.paging import number, one_of, page_query, page_response
from serving.api.services import Services
from serving.core.confine import Unconfined
from serving.core.ids import new_id
from serving.inference.charging import charged
from serving.inference.exchange import Exchange
from serving.metering.charge import require_storage, storage_meter
from serving.protocol.errors import ApiError, invalid, unavailable
from serving.protocol.vector_stores import AccessList
from serving.quotas.quota import QuotaExceeded
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.sandbox import detect_isolated
from serving.retrieval.text.window import window
from serving.store.access import MAX_NAMES, Access, access_document
from serving.store.files import MAX_PAGE, File

PURPOSES = ("assistants", "user_data", "batch", "fine-tune")

AS_ROWS = ("batch", "fine-tune")
"""Purposes of files of JSON lines, which are checked when they are used."""

TEXT = "file.text"
"""What quotas of models call the reading of a file's text."""

LISTED = (*PURPOSES, "batch_output")

_TELLING = ThreadPoolExecutor(2, thread_name_prefix="uploads")
"""Separate threads: checks of uploads in child processes do not occupy the store's threads."""

_LIST: TypeAdapter[AccessList | None] = TypeAdapter(AccessList | None)


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Uploads a file."""
    # Checked first: a rejected upload need not be received.
    await require_storage(s.quotas, s.keeper, x.caller, files=1, stored_bytes=1)
    with x.timeline.during("receive"):
        upload, purpose, access = await _form(s, request)
    try:
        name = _name(upload.filename)
        try:
            kind = LINES_KIND
            if purpose not in AS_ROWS:
                kind = await asyncio.get_running_loop().run_in_executor(_TELLING, _kind, upload, name)
        except Unconfined as e:
            raise unavailable(f"Files cannot be accepted on this host: {e}.") from None
        except UnreadableDocument as e:
            raise invalid(f"The file cannot be used: {e.message}.", "file", "unsupported_file") from None
        await upload.seek(0)
        await require_storage(s.quotas, s.keeper, x.caller, stored_bytes=upload.size or 0)
        file_id = new_id("file")
        blob = await s.blobs.write(x.caller, file_id, upload.file, max_bytes=s.limits.upload_bytes)
    finally:
        await upload.close()

    async def add() -> File:
        file = await s.files.create(
            x.caller,
            file_id,
            filename=name,
            purpose=purpose,
            bytes=blob.bytes,
            sha256=blob.sha256,
            kind=kind,
            access=access,
            meter=storage_meter(s.keeper, x.caller, files=1, stored_bytes=blob.bytes),
        )
        await x.record(file.id)
        return file

    try:
        file = await s.database.atomically(add)
    except QuotaExceeded:  # another upload was faster
        await s.blobs.delete(x.caller, file_id)
        raise
    return JsonResponse(_render(file))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the files that the caller may read."""
    purpose = one_of(request.query_params.get("purpose"), "purpose", LISTED)
    return page_response(await s.files.list(x.caller, purpose=purpose, **page_query(request, most=MAX_PAGE)), _render)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a file."""
    return JsonResponse(_render(await s.files.get(x.caller, request.path_params["file_id"])))


async def delete(s: Services, request: Request, x: Exchange) -> Response:
    """Deletes a file, also from every vector store."""
    file_id = request.path_params["file_id"]
    await s.files.delete(x.caller, file_id)
    return JsonResponse({"id": file_id, "object": "file", "deleted": True})


async def content(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a file's bytes, always as a download, so that browsers never display it as a page of this host."""
    file = await s.files.get(x.caller, request.path_params["file_id"])
    headers = {
        "content-length": str(file.bytes),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}",
    }
    body = await s.blobs.open(x.caller, file.id)
    x.timeline.end_of("respond")
    x.timeline.under_way = "send"  # as fast as the caller reads it
    return StreamingResponse(body, headers=headers, media_type="application/octet-stream")


async def text(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a file's text around a passage, by the positions of citations: at most 20,000 characters."""
    start, end = (number(request.query_params.get(name), name) or 0 for name in ("start", "end"))
    file = await s.files.get(x.caller, request.path_params["file_id"])
    x.timeline.end_of("receive")
    async with x.cancelled_by_hang_up(), charged(s.keeper, x, model=TEXT), s.admission.admit():
        x.timeline.end_of("admit")
        with x.timeline.during("retrieve"):
            shown = window(await s.attached_files.indexed(x.caller, file), start, end)
    return JsonResponse({"object": "file.text", "id": file.id, "filename": file.filename, **asdict(shown)})


def _kind(upload: UploadFile, name: str) -> str:
    """Returns the kind of a file as determined in a confined child process: this process does not parse it."""
    return detect_isolated(upload.file.read(), name)


async def _form(s: Services, request: Request) -> tuple[UploadFile, str, Access | None]:
    form = await read_form(request, s.limits)
    upload = form.get("file")
    if not isinstance(upload, UploadFile):
        raise invalid("The body needs a file part named 'file'.", "file")
    if any(name.partition("[")[0] == "expires_after" for name in form):
        await upload.close()
        raise invalid("Files have no expiry of their own: delete them.", "expires_after")
    purpose = form.get("purpose")
    if not isinstance(purpose, str) or purpose not in PURPOSES:
        await upload.close()
        raise invalid(f"purpose must be one of {', '.join(PURPOSES)}.", "purpose")
    try:
        return upload, purpose, _access(form.get("access"))
    except ApiError:
        await upload.close()
        raise


def _access(given: object) -> Access | None:
    """Returns the access list of a form, which is a JSON field."""
    if given is None:
        return None
    try:
        listed = _LIST.validate_json(given if isinstance(given, str) else "")
    except ValidationError:
        message = "access must be JSON: null or an object with lists of users and groups, each at most"
        raise invalid(f"{message} {MAX_NAMES} names of 1 to 256 characters.", "access") from None
    return listed.stored if listed is not None else None


def _name(filename: str | None) -> str:
    name = (filename or "").replace("\\", "/").rpartition("/")[2].strip()
    if not name or len(name) > 256 or any(ord(c) < 32 or ord(c) == 127 for c in name):
        raise invalid("The file needs a name of at most 256 printable characters.", "file")
    return name


def _render(file: File) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": file.status,
        "headrace": {
            "owner": file.user,
            "sha256": file.sha256,
            "kind": file.kind,
            "access": access_document(file.access),
        },
    }
