"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.approving import Approving, taint
from serving.api.charging import charged
from serving.api.citations import citation_fields
from serving.api.errors import invalid, no_model
from serving.api.exchange import Exchange
from serving.api.generation import CHAT, Annotate, Finished, Job, fixed_answer, sampling_fields
from serving.api.guarded_history import GuardedHistory
from serving.api.guarding import guarded
from serving.api.http import JsonResponse, read_json
from serving.api.reasoning import Acting, Reasoner, choose, tools_of
from serving.api.recorder import check_storable, recorder
from serving.api.schemas import ChatRequest, NamedChoice
from serving.api.services import Services
from serving.api.turn import OpenTurn, Recollection
from serving.assistants import prompt, spotlight
from serving.assistants.resolver import Route
from serving.assistants.tools.builtin import Search
from serving.config import Assistant, Limits, React, ReactCotSc, Reasoning
from serving.retrieval.types import Hit
from serving.telemetry import metrics


async def create(s: Services, request: Request, x: Exchange) -> Response | None:
    """Answers a conversation, streamed or whole."""
    body = await read_json(request, ChatRequest, s.limits)
    x.timeline.end_of("receive")
    check_size(body, s.limits)
    route, catalogue = resolve(s, x, body.model), s.tools  # of one catalogue: another may come while this waits
    check_storable(s, route, body)
    async with x.cancelled_by_hang_up(), charged(s.keeper, x, stream=body.stream):
        with x.timeline.during("guard"):
            body = await guarded(s, x, route, body)
        strategy = choose(route, body)
        approving = Approving(s.approvals, s.used_approvals, x.caller, route, body.approvals or ())
        await approving.record(s.audit, x.request_id)
        screen = GuardedHistory.of(x.guard, s.clean)
        turn = OpenTurn(s, x.caller, route.assistant, body, screen) if body.conversation is not None else None
        async with s.admission.admit():
            x.timeline.end_of("admit")
            searches = searches_by_itself(route, strategy)
            # Samples that vote need the excerpts before; ReAct alone asks for what it needs.
            hits = None if searches and isinstance(strategy, React) else await retrieve(s, x, route, body)
            found = list(hits or ())  # and what the model's own searches find
            shown = found if searches else hits
            finished = recorder(s, x, route, body, shown, turn)
            id = x.new_id("chatcmpl")
            job = new_job(id, body, route, hits, turn, annotator(s, x, shown, turn), finished)
            if strategy is not None:
                acting = Acting(catalogue, approving, taint(route, tools_of(route), body, hits, turn))
                job = by_strategy(s, x, job, strategy, found, acting)
            x.timeline.end_of("prompt")
            if hits is not None and not hits:
                metrics.retrieval_empty.inc()
                answer = await fixed_answer(x, job, refusal(route), await refusal_fields(turn))
            else:
                answer = await s.generator.run(x, job)
    return JsonResponse(answer) if answer is not None else None


def resolve(s: Services, x: Exchange, name: str) -> Route:
    """Returns what answers the caller for `name`; raises a 404, also for what the caller may not call."""
    route = s.resolver.resolve(name, x.caller)
    if route is None:
        raise no_model()
    x.model = route.requested
    x.assistant = route.assistant.name if route.assistant is not None else None
    return route


def check_size(body: ChatRequest, limits: Limits) -> None:
    """Raises a 400 for more than the limits allow, before anything is tokenised."""
    if len(body.messages) > limits.messages:
        raise invalid(f"More than {limits.messages} messages.", "messages", "too_many_messages")
    size = 0
    for message in body.messages:
        content = message.content
        size += len(content) if isinstance(content, str) else len(message.text())
        size += sum(len(call.function.arguments) for call in message.tool_calls or ())
    if size > limits.characters:
        raise invalid(f"The messages have more than {limits.characters} characters.", "messages", "too_long")
    if body.n is not None and body.n > limits.n:
        raise invalid(f"n is at most {limits.n}.", "n")
    if body.conversation is not None and (body.n or 1) > 1:
        raise invalid("A conversation goes on with one answer: n must be 1.", "n")


async def retrieve(
    s: Services, x: Exchange, route: Route, body: ChatRequest, *, param: str = "messages"
) -> Sequence[Hit] | None:
    """Returns what was found, empty when nothing is good enough, None when the assistant reads nothing."""
    assistant = route.assistant
    if assistant is None or not assistant.knowledge:
        return None
    question = next((m.text() for m in reversed(body.messages) if m.role == "user"), "").strip()
    if not question:
        raise invalid("This assistant needs a user message with text.", param)
    with x.timeline.during("retrieve"):
        return await _found(s, x, assistant, question)


async def _found(s: Services, x: Exchange, assistant: Assistant, question: str) -> Sequence[Hit]:
    """Returns the chunks that the model may read."""
    hits = await s.retrieval.context(x.caller, spotlight.budgeted(assistant), question)
    return hits if x.guard is None else await x.guard.hits(hits)


def new_job(
    id: str,
    body: ChatRequest,
    route: Route,
    hits: Sequence[Hit] | None,
    turn: Recollection | None,
    annotate: Annotate | None,
    finished: Finished | None,
) -> Job:
    """Returns the generation that answers `body`."""
    conversation = [_message(m.model_dump(exclude_none=True)) for m in body.messages]
    document: dict[str, Any] = sampling_fields(body)
    max_tokens = body.max_completion_tokens or body.max_tokens
    assistant = route.assistant
    if assistant is not None:
        conversation = prompt.messages(assistant, hits or (), conversation)
        max_tokens = max_tokens or assistant.max_tokens
        if assistant.temperature is not None:
            document.setdefault("temperature", assistant.temperature)
    if max_tokens is not None:
        document["max_tokens"] = max_tokens
    for name in ("logprobs", "top_logprobs", "tool_choice", "parallel_tool_calls"):
        if (value := getattr(body, name)) is not None:
            document[name] = value.model_dump() if isinstance(value, NamedChoice) else value
    if body.tools:
        document["tools"] = [t.model_dump(exclude_none=True) for t in body.tools]
    if body.response_format is not None:
        document["response_format"] = body.response_format.model_dump(exclude_none=True, by_alias=True)
    document["messages"] = conversation
    text_only = not any(message.attaches for message in body.messages)
    return Job(
        path=CHAT,
        id=id,
        route=route,
        document=document,
        stream=body.stream,
        want_usage=body.stream_options is not None and body.stream_options.include_usage,
        text_only=text_only,
        recall=turn.recall if turn is not None else None,
        annotate=annotate,
        cites=bool(hits),
        finished=finished,
    )


def _message(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] == "developer":  # OpenAI's newer name for the same role; most engines know only the older
        message["role"] = "system"
    return message


def searches_by_itself(route: Route, strategy: Reasoning | None) -> bool:
    """Whether the model asks for what it needs of the documents."""
    return isinstance(strategy, React | ReactCotSc) and "retrieval" in tools_of(route)


def by_strategy(s: Services, x: Exchange, job: Job, strategy: Reasoning, found: list[Hit], acting: Acting) -> Job:
    """Returns `job` answered by `strategy`; what the model's own searches find is added to `found`."""
    route = job.route
    search = _search(s, x, route, found) if searches_by_itself(route, strategy) else None
    reasoner = Reasoner(s.upstream, s.sandbox.get, strategy, tools_of(route), search, acting)
    recall = reasoner.leaving_room(job.recall) if job.recall is not None else None
    return replace(job, solve=reasoner.solve, recall=recall, effort=strategy.tokens)


def _search(s: Services, x: Exchange, route: Route, found: list[Hit]) -> Search:
    async def search(query: str) -> Sequence[Hit]:
        if route.assistant is None:
            raise AssertionError("only assistants retrieve")
        hits = await _found(s, x, route.assistant, query)
        known = {hit.chunk_id for hit in found}
        found.extend(hit for hit in hits if hit.chunk_id not in known)
        return hits

    return search


def annotator(s: Services, x: Exchange, hits: Sequence[Hit] | None, turn: Recollection | None) -> Annotate | None:
    """Returns what puts citations and memory's report beside an answer, None when there are none."""
    if hits is None and turn is None:
        return None

    async def annotate(texts: dict[int, str]) -> dict[int, dict[str, Any]]:
        fields: dict[int, dict[str, Any]] = {}
        for index, text in texts.items():
            fields[index] = {}
            if hits:
                found = await s.retrieval.attribute(text, hits)
                metrics.unsupported.labels(x.model).inc(len(found.unsupported))
                fields[index] = citation_fields(found.citations, found.unsupported, len(hits))
            elif hits is not None:
                fields[index] = citation_fields((), (), 0)
            if turn is not None:
                fields[index].setdefault("headrace", {})["memory"] = turn.report
        return fields

    return annotate


def refusal(route: Route) -> str:
    """Returns what an assistant says when retrieval finds nothing."""
    if route.assistant is None:
        raise AssertionError("only assistants retrieve")
    return route.assistant.refusal


async def refusal_fields(turn: Recollection | None) -> dict[str, Any]:
    """Returns what stands beside an answer when retrieval found nothing to answer from."""
    fields = citation_fields((), (), 0)
    if turn is not None:
        await turn.count()
        fields["headrace"]["memory"] = turn.report
    return fields
