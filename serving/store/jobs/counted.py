"""Metrics of ended jobs."""

from __future__ import annotations

from serving.store.jobs.queue import Json
from serving.store.jobs.worker import Handler, JobContext, Postponed
from serving.telemetry import metrics


def counted(handler: Handler) -> Handler:
    """Returns `handler` with a counter of its outcomes by kind."""

    async def run(context: JobContext) -> Json | None:
        outcome = "failed"
        try:
            result = await handler(context)
            outcome = "succeeded"
            return result
        except Postponed:
            outcome = "postponed"
            raise
        finally:
            metrics.jobs.labels(context.job.kind, outcome).inc()

    return run
