"""Answers to an assistant's callers without a model: small talk, quotes of documents, and refusals."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from serving.assistants.reader import beyond_text
from serving.assistants.small_talk import is_small_talk
from serving.config import Assistant
from serving.engines.router import Route
from serving.inference.conversation_context import ConversationContext
from serving.inference.documents.citations import CitationKind, citation_fields
from serving.inference.exchange import Exchange
from serving.inference.job import GenerationJob
from serving.inference.outcome import Outcome, ending
from serving.inference.relay import Relay
from serving.protocol.chat import ChatRequest
from serving.protocol.choices import complete_choice
from serving.protocol.errors import invalid
from serving.retrieval.client import RetrievalClient
from serving.retrieval.excerpts.quote import quotation
from serving.retrieval.types import Attribution, Hit
from serving.telemetry import metrics
from serving.telemetry.catalogue import OTHER


@dataclass(frozen=True, slots=True)
class DocumentAnswer:
    """A complete answer: its text, the fields beside it and its finish reason."""

    text: str
    fields: dict[str, Any]
    finish_reason: str = "stop"


def question_of(body: ChatRequest) -> str:
    """Returns the user's last message; empty if it has no text."""
    return next((m.text() for m in reversed(body.messages) if m.role == "user"), "").strip()


def answers_courtesy(route: Route, body: ChatRequest) -> bool:
    """Returns whether the user's last message is small talk, which the assistant answers without a model.

    "Yes, please" to a model with functions, or to a call that requires approval, is not.
    """
    assistant, last = route.assistant, body.messages[-1]
    if assistant is None or not route.reads or not assistant.small_talk:
        return False
    alone = last.role == "user" and not last.attaches and not body.tools and not body.approvals
    return alone and is_small_talk(question_of(body))


def check_fields(assistant: Assistant, body: ChatRequest, fields: Mapping[str, str]) -> None:
    """Raises `ApiError` for fields that do not apply to answers that are checked before the caller gets them.

    `fields` maps names in a chat to the names in the caller's request, if they differ.
    """
    kind = assistant.unsupported
    require_plain(body, fields, f"is for answers with unsupported: mark; this one has unsupported: {kind}.")


def require_plain(body: ChatRequest, fields: Mapping[str, str], why: str) -> None:
    """Raises `ApiError` for what asks for more than one answer in text; `why` comes after the name of the field."""
    if (asked := beyond_text(body)) is not None:
        name = fields.get(asked, asked)
        raise invalid(f"{name} {why}", name)


async def courtesy(x: Exchange, assistant: Assistant, context: ConversationContext | None) -> DocumentAnswer:
    """Returns the assistant's answer to small talk."""
    return DocumentAnswer(assistant.small_talk, await _fields(x, assistant.small_talk, Attribution((), ()), 0, context))


async def refusal(
    x: Exchange, assistant: Assistant, context: ConversationContext | None, unread: int = 0
) -> DocumentAnswer:
    """Returns the assistant's answer when retrieval finds nothing relevant, after its output guardrails.

    Tenants write this text for their own assistants. `unread` is the number of files that are still being read.
    """
    metrics.child(metrics.retrieval_empty, x.assistant or OTHER).inc()
    text, reason = assistant.refusal, "stop"
    if unread:
        files = "1 file is" if unread == 1 else f"{unread} files are"
        text = f"{text} {files} still being read: ask again in a moment."
    if x.guard is not None and x.guard.output:
        with x.timeline.during("guard"):
            checked = await x.guard.check(text, "output", "choices[0].content")
        text, reason = checked.text, "content_filter" if checked.blocked else reason
    return DocumentAnswer(text, await _fields(x, text, Attribution((), ()), 0, context), reason)


async def quoted(
    x: Exchange,
    retrieval: RetrievalClient,
    hits: Sequence[Hit],
    context: ConversationContext | None,
    kind: CitationKind,
) -> DocumentAnswer:
    """Returns the answer that quotes `hits`, after its output guardrails; text changed by them is cited again."""
    answer = quotation(hits)
    text, found, reason = answer.text, answer.attribution, "stop"
    if x.guard is not None and x.guard.output:
        with x.timeline.during("guard"):
            checked = await x.guard.check(text, "output", "choices[0].content")
        reason = "content_filter" if checked.blocked else reason
        if checked.text != text:
            text = checked.text
            with x.timeline.during("cite"):
                found = answer.cited_again(text, await retrieval.attribute(text, hits))
    return DocumentAnswer(text, await _fields(x, text, found, len(hits), context, kind), reason)


async def fixed_answer(x: Exchange, job: GenerationJob, said: DocumentAnswer) -> dict[str, Any] | None:
    """Answers a chat with the text `said`, without a model, in the requested format."""
    text, fields, reason = said.text, said.fields, said.finish_reason
    x.answer_id, x.finish_reason = job.id, reason
    ours = {"id": job.id, "model": job.route.requested}
    base = {**ours, "created": int(time.time())}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **fields}, "finish_reason": reason}
    answer = {**base, "object": "chat.completion", "choices": [complete_choice(choice)], "usage": usage}
    stream = b""
    if job.stream:
        relay = job.relay or Relay(ours, want_usage=job.want_usage, hold_finish=True)
        stream = relay.head() + relay.answer(text, reason, usage)
        relay.annotate({0: fields})
        stream += relay.tail()
    if job.keeper is not None:
        last = (lambda: stream) if job.stream else (lambda: orjson.dumps(answer))
        await job.keeper.keep(Outcome(job.id, ending([choice]), {}, [choice], usage, last=last))
        x.timeline.end_of("store")
    if not job.stream:
        return answer
    await x.start_stream()
    await x.write(stream, last=True)
    return None


async def _fields(
    x: Exchange,
    text: str,
    found: Attribution,
    retrieved: int,
    context: ConversationContext | None,
    kind: CitationKind = "url_citation",
) -> dict[str, Any]:
    """Returns the fields beside an answer without a model."""
    fields = citation_fields(found.citations, found.unsupported, retrieved, kind)
    if context is not None:
        await context.count()
        fields["headrace"].update(context.answer_fields(text))
    if x.guard is not None and x.guard.report:
        fields["headrace"]["guardrails"] = x.guard.report
    return fields
