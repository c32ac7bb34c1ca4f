"""Retention: deletes conversations, responses, captures, files and batches, each class after its number of days.

Idempotency keys are not a class: they expire by themselves (`IdempotencyKeys.prune`). The audit log is pruned by
processes that have its key (`serving.security.audit`).
"""

from __future__ import annotations

from serving.config import Retention
from serving.store.background.batches import Batches
from serving.store.captures import Captures
from serving.store.conversations import Conversations
from serving.store.files import Files
from serving.store.responses import Responses

DAY_S = 86_400.0


async def prune(
    retention: Retention,
    conversations: Conversations,
    responses: Responses,
    captures: Captures,
    files: Files,
    batches: Batches,
) -> dict[str, int]:
    """Removes data that is older than its class's retention. Returns the number for each class that has one.

    Several processes may do it at once.
    """
    removals = {
        "conversations": (retention.conversations, conversations.prune),
        "responses": (retention.conversations, responses.prune),
        "captures": (retention.captures, captures.prune),
        "files": (retention.files, files.prune),
        "batches": (retention.files, batches.prune),
    }
    return {name: await removal(days * DAY_S) for name, (days, removal) in removals.items() if days is not None}
