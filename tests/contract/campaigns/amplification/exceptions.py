"""What may be more than 20 times what is sent: each exception with its bound and what limits it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.contract.campaigns.amplification.measuring import Measure

MOST = 20
"""Bytes stored, and bytes of the log, for each byte sent; jobs and lines of the log for each request; and how many
times the processor time of an ordinary request of its size.
"""


@dataclass(frozen=True, slots=True)
class Exceptional:
    """An attack that may pass the rule: up to `most`, in the measure's unit for each attack; of processor time, so many
    times that of ordinary requests. `why` says what limits it.
    """

    most: int
    why: str


def _of(operation: str, what: str) -> str:
    return f"`{operation}`: {what}"


_DOCUMENTS = (
    ("markdown", "long headings"),
    ("html", "a wide header"),
    ("pdf", "a repeated form"),
    ("docx", "a long paragraph"),
    ("docx", "a merged cell"),
    ("pptx", "a long text"),
    ("xlsx", "a shared string"),
    ("xlsx", "long names of columns"),
    ("epub", "a repeated chapter"),
    ("csv", "long names of columns"),
    ("json", "a long path"),
    ("jsonl", "a long path"),
)
"""Documents that are smaller than their text."""

_TEXT = "text may have 20 times as many characters as the file has bytes, and always 1,000,000; chunks have vectors"
_PROMPT = "the capture of a turn holds the prompt, whose tokens are charged"
_EMBEDS = "texts are embedded, whose tokens are charged"
_CHILD = "a child process reads the file; `files`"
_ADAPTER = "an adapter is registered, for which a child process checks and converts it, one at a time"

EXCEPTIONS: dict[tuple[str, Measure], Exceptional] = {
    (_of("POST /v1/chat/completions", "a turn of a long conversation"), "stored bytes"): Exceptional(
        1_500_000, _PROMPT
    ),
    (_of("POST /v1/responses", "a turn of a long conversation"), "stored bytes"): Exceptional(1_500_000, _PROMPT),
    (_of("POST /v1/messages", "a turn of a long conversation"), "stored bytes"): Exceptional(1_500_000, _PROMPT),
    (_of("POST /v1/responses", "in the background, with all webhooks"), "stored bytes"): Exceptional(
        40_000, "a delivery to each webhook, of which a tenant and the platform have 16 each, up to 500 waiting ones"
    ),
    (_of("POST /v1/responses", "in the background, with all webhooks"), "processor seconds"): Exceptional(
        100, "a delivery to each webhook; 4 of a tenant at once"
    ),
    (_of("POST /v1/embeddings", "2,048 letters"), "processor seconds"): Exceptional(3_000, _EMBEDS),
    (_of("POST /v1/batches", "embeddings of 256 letters"), "stored bytes"): Exceptional(
        4_000_000, "each answer counts in `stored_bytes` before it is stored, and a batch has at most 16 GiB of them"
    ),
    (_of("POST /v1/batches", "embeddings of 256 letters"), "processor seconds"): Exceptional(600, _EMBEDS),
    (_of("POST /v1/batches", "chats of one letter"), "processor seconds"): Exceptional(
        600, "each line is charged as a request; 100 unfinished batches of a tenant"
    ),
    (_of("POST /v1/files", "one byte"), "processor seconds"): Exceptional(100, _CHILD),
    (_of("POST /v1/files", "a long list"), "processor seconds"): Exceptional(100, _CHILD),
    (_of("POST /v1/vector_stores", "with a file"), "stored bytes"): Exceptional(
        60_000, "an index of its own; `attachments`, `stored_bytes`, and 10,000 stores of a tenant"
    ),
    (_of("POST /v1/vector_stores", "with a file"), "processor seconds"): Exceptional(
        400, "the file is read and embedded again; `attachments`, and a tenant's share of the workers"
    ),
    (_of("POST /v1/vector_stores/{store_id}/file_batches", "one list and attributes for all"), "stored bytes"): (
        Exceptional(14_000_000, "each file has a copy of what is named once: 4,000,000 bytes in all; `attachments`")
    ),
    (_of("POST /v1/vector_stores/{store_id}/file_batches", "one list and attributes for all"), "jobs"): Exceptional(
        2_000, "a job for each file, of which a batch has at most 2,000; `attachments`"
    ),
    (_of("POST /v1/vector_stores/{store_id}/file_batches", "one list and attributes for all"), "processor seconds"): (
        Exceptional(20_000, "each file is read and embedded; `attachments`, and a tenant's share of the workers")
    ),
    (_of("POST /v1/vector_stores/{store_id}/search", "ten queries"), "processor seconds"): Exceptional(
        600, "at most 10 queries of 8,192 characters, charged as one request"
    ),
    (_of("POST /v1/conversations/{conversation_id}/fork", "a long conversation"), "stored bytes"): Exceptional(
        1_500_000, "the items are copied, here 600,000 bytes, and count in `items`, not in `stored_bytes`"
    ),
    (_of("POST /v1/hub/evaluations", "20 prompts"), "stored bytes"): Exceptional(
        80_000, "a score for each prompt of the suite; 20 unfinished evaluations of a tenant"
    ),
    (_of("POST /v1/hub/evaluations", "20 prompts"), "processor seconds"): Exceptional(
        1_000, "a request for each prompt of the suite, which is charged"
    ),
    (_of("POST /v1/hub/versions", "an adapter"), "processor seconds"): Exceptional(400, _ADAPTER),
    (_of("POST /v1/hub/versions/{version_id}/retire", "a long reason"), "processor seconds"): Exceptional(
        400, _ADAPTER
    ),
    (_of("POST /v1/admin/erasures", "of nobody"), "processor seconds"): Exceptional(
        5_000, "all that the tenant has is searched; only for admins, 100 waiting ones of a tenant"
    ),
    **{
        (f"a document of `{format}`: {what}", "stored bytes"): Exceptional(10_000_000, f"{_TEXT}; `stored_bytes`")
        for format, what in _DOCUMENTS
    },
    **{
        (f"a document of `{format}`: {what}", "processor seconds"): Exceptional(
            500, f"{_TEXT}; its tokens are charged, and processor time is limited by the file's size"
        )
        for format, what in _DOCUMENTS
    },
}
"""By an attack's name and what passes the rule."""


def table() -> list[str]:
    """Returns the rows of the table in docs/security.md, one for what grows alike."""
    alike: dict[tuple[Measure, Exceptional], list[str]] = {}
    for (name, measure), of in sorted(EXCEPTIONS.items()):
        alike.setdefault((measure, of), []).append(name)
    return [f"| {'; '.join(names)} | {measure} | {of.most:,} | {of.why} |" for (measure, of), names in alike.items()]
