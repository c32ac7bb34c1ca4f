"""LangGraph's checkpointer, which stores checkpoints in the platform under the run's tenant and user."""

from __future__ import annotations

import asyncio
import base64
import contextvars
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
)

from .run import PlatformError, current

Config = Any
"""LangChain's `RunnableConfig`."""

T = TypeVar("T")

Packed = list[str]
"""A serialised value: its type, and its bytes in base64."""

PATH = "/run/checkpoints"

_THREADS = ThreadPoolExecutor(16, "checkpoints")
"""Separate threads: an app whose functions occupy all others can still store checkpoints."""


WRITES_WAIT_S = (0.05, 0.1, 0.2, 0.5, 1, 2, 4, 8, 8)
"""Delays between retries of writes whose checkpoint is not stored yet; if it was deleted, all retries fail."""


class PlatformSaver(BaseCheckpointSaver[int]):
    """Stores the threads of an app. The same thread id of another user is a different thread."""

    def get_tuple(self, config: Config) -> CheckpointTuple | None:
        thread, namespace = _place(config)
        asked = {"thread": thread, "namespace": namespace, "id": get_checkpoint_id(config)}
        found = current().ask("POST", PATH, {"get": asked})["checkpoint"]
        return self._tuple(thread, namespace, found) if found is not None else None

    def list(
        self,
        config: Config | None,
        *,
        filter: dict[str, Any] | None = None,
        before: Config | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        if config is None:
            raise ValueError("checkpoints can be listed only by thread")
        thread, namespace = _place(config)
        asked = {"thread": thread, "namespace": namespace, "before": get_checkpoint_id(before) if before else None}
        for found in current().ask("POST", PATH, {"list": asked})["checkpoints"]:
            made = self._tuple(thread, namespace, found)
            if all(made.metadata.get(name) == value for name, value in (filter or {}).items()):
                yield made
                if limit is not None and (limit := limit - 1) <= 0:
                    return

    def put(
        self, config: Config, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> Config:
        thread, namespace = _place(config)
        row = {
            "thread": thread,
            "namespace": namespace,
            "id": checkpoint["id"],
            "parent": get_checkpoint_id(config),
            "checkpoint": self._packed(checkpoint),
            "metadata": self._packed(get_checkpoint_metadata(config, metadata)),
        }
        current().ask("POST", PATH, {"put": row})
        return _config(thread, namespace, checkpoint["id"])

    def put_writes(self, config: Config, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        thread, namespace = _place(config)
        row = {
            "thread": thread,
            "namespace": namespace,
            "id": get_checkpoint_id(config),
            "task": task_id,
            "writes": [
                [WRITES_IDX_MAP.get(channel, place), channel, self._packed(value)]
                for place, (channel, value) in enumerate(writes)
            ],
        }
        current().ask("POST", PATH, {"writes": row})

    def delete_thread(self, thread_id: str) -> None:
        current().ask("POST", PATH, {"delete": {"thread": thread_id}})

    async def aget_tuple(self, config: Config) -> CheckpointTuple | None:
        return await _in_thread(self.get_tuple, config)

    async def alist(
        self,
        config: Config | None,
        *,
        filter: dict[str, Any] | None = None,
        before: Config | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        def listed() -> Sequence[CheckpointTuple]:
            return tuple(self.list(config, filter=filter, before=before, limit=limit))

        for each in await _in_thread(listed):
            yield each

    async def aput(
        self, config: Config, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> Config:
        return await _in_thread(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: Config, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        # LangGraph stores a checkpoint and the writes after it concurrently, in an undefined order.
        for pause in WRITES_WAIT_S:
            try:
                await _in_thread(self.put_writes, config, writes, task_id, task_path)
            except PlatformError as e:
                if e.code != "not_found":
                    raise
                await asyncio.sleep(pause)
            else:
                return
        await _in_thread(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        await _in_thread(self.delete_thread, thread_id)

    def _packed(self, value: Any) -> Packed:
        kind, data = self.serde.dumps_typed(value)
        return [kind, base64.b64encode(data).decode()]

    def _unpacked(self, packed: Packed) -> Any:
        return self.serde.loads_typed((packed[0], base64.b64decode(packed[1])))

    def _tuple(self, thread: str, namespace: str, found: dict[str, Any]) -> CheckpointTuple:
        parent = found["parent"]
        return CheckpointTuple(
            config=_config(thread, namespace, found["id"]),
            checkpoint=self._unpacked(found["checkpoint"]),
            metadata=self._unpacked(found["metadata"]),
            parent_config=_config(thread, namespace, parent) if parent else None,
            pending_writes=[(task, channel, self._unpacked(value)) for task, channel, value in found["writes"]],
        )


async def _in_thread(function: Callable[..., T], *args: Any) -> T:
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_THREADS, context.run, function, *args)


def _place(config: Config) -> tuple[str, str]:
    configurable = config["configurable"]
    return str(configurable["thread_id"]), str(configurable.get("checkpoint_ns", ""))


def _config(thread: str, namespace: str, id: str) -> Config:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": id}}
