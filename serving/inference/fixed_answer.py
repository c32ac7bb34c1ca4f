"""Answers that no model gives."""

from __future__ import annotations

import time
from typing import Any

import orjson

from serving.inference.document_answers import DocumentAnswer
from serving.inference.exchange import Exchange
from serving.inference.job import GenerationJob
from serving.inference.outcome import Outcome, ending
from serving.inference.relay import Relay
from serving.protocol.choices import complete_choice


async def fixed_answer(x: Exchange, job: GenerationJob, said: DocumentAnswer) -> dict[str, Any] | None:
    """Answers a chat with what is `said` without asking a model, in the shape that was asked for."""
    text, fields, reason = said.text, said.fields, said.finish_reason
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
