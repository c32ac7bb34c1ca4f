"""Replicas of llama.cpp: its HTTP server in a child process, on the node's address, with batching over slots.

A server knows only the adapters that it was made with. Other adapters therefore need another server: a new generation
of the child, which starts beside the old one, gets all new leases once it is warm, and leaves the old one to end after
its last lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.config import LlamaCppModel
from serving.engines.adapters.errors import StartFailed
from serving.engines.adapters.follower import Follower, keep
from serving.engines.adapters.llamacpp_program import ADAPTER_FILE, LlamaCppProgram
from serving.engines.replica import EngineReplica, granted, node_address
from serving.engines.slots import Slots
from serving.engines.source import resolve
from serving.store.objects.live_adapters import LiveSets

CLEAR_S = 60
"""Timeout of clearing another owner's prompt from a slot, whose last request may still be ending."""

log = logging.getLogger("headrace.engines")


@dataclass(eq=False)
class ServerGeneration:
    """One server with its adapters, and the leases of requests that use it."""

    program: LlamaCppProgram
    slots: Slots | None
    leases: int = 0


class LlamaCppReplica(EngineReplica):
    """A model on llama.cpp. `host` is the address to bind, by default the node's; `sets` has its live adapters."""

    def __init__(self, config: LlamaCppModel, host: str | None = None, sets: LiveSets | None = None) -> None:
        started = time.perf_counter()
        self._config = config
        self._host = host or node_address()
        self._file = Path(resolve(config.source, config.sha256))
        self._turn = threading.Lock()  # for the generations and their leases: the loop and a thread change them
        self._current: ServerGeneration | None = None
        self._retired: list[ServerGeneration] = []
        self._broken = ""  # why there is no server that could be started
        self._proven: set[str] = set()
        self.closing = threading.Event()
        self._wake = threading.Event()
        self._follower: Follower | None = None
        try:
            if sets is not None and config.adapters is not None:
                self._follower = Follower(config.name, config.adapters, sets, (ADAPTER_FILE,), self._serve)
            url, key = self._start().program.server
            super().__init__(
                "llama.cpp", config.name, prefix="llamacpp:", url=url, key=key, slots=config.slots, started=started
            )
        except BaseException:
            self.close()
            raise
        keep(self, self._wake)

    def _start(self) -> ServerGeneration:
        """Returns the first generation, which has the adapters of the live set if these can be read."""
        if self._follower is not None:
            self._follower.step()
        if self._current is None:
            self._serve({})
        assert self._current is not None
        return self._current

    def _serve(self, adapters: Mapping[str, Path]) -> None:
        """Replaces the current generation by one with these adapters, once it has answered. Raises as `Serve` does."""
        unproven = [name for name in adapters if name not in self._proven]
        program = LlamaCppProgram(self._config, self._file, self._host, adapters, unproven)
        # Only the slots of chat models keep prompts.
        slots = None
        if self._config.task == "chat":
            slots = Slots(self._config.slots, lambda slot: self._clear(program, slot))
        with self._turn:
            before, self._current = self._current, ServerGeneration(program, slots)
            if before is not None:
                self._retired.append(before)
        self._proven = set(adapters)
        self._server = program.server

    @contextlib.asynccontextmanager
    async def _place(self, owner: str, user: str, adapter: str | None) -> AsyncIterator[dict[str, Any]]:
        with self._turn:
            generation = self._current
            assert generation is not None
            program = generation.program
            if adapter is None or adapter in program.adapters:
                generation.leases += 1
            else:
                generation = None
        if generation is None:
            self._wake.set()  # it may be in the live set by now
            yield {"lacks": adapter}
            return
        try:
            if reason := program.ended():
                raise StartFailed(reason)
            # Each request names the scale of every adapter: otherwise an earlier request to `/lora-adapters` decided.
            more: dict[str, Any] = {"lora": program.scales(adapter)} if program.adapters else {}
            if generation.slots is None:
                yield granted(program.server, **more)
                return
            async with generation.slots.hold(owner, user) as slot:
                yield granted(program.server, slot=slot, **more)
        finally:
            with self._turn:
                generation.leases -= 1

    async def _clear(self, program: LlamaCppProgram, slot: int) -> None:
        """Replaces the prompt in a slot by a public one, since llama.cpp keeps only the last. Raises `StartFailed`."""
        nobodys = {"prompt": "Hello", "n_predict": 0, "cache_prompt": False, "id_slot": slot}
        await asyncio.to_thread(program.ask, "completion", "content", CLEAR_S, **nobodys)

    async def check_health(self) -> None:
        """Raises when the server does not answer, or has ended and could not be started again."""
        if self._broken:
            self._fail(for_good=True)
            raise StartFailed(self._broken)
        if self._current is not None and self._current.program.ended():
            return  # it is being replaced
        await super().check_health()

    def step(self) -> None:
        """Replaces a server that has ended, ends old generations without leases, and follows the live set."""
        if self._current is not None and not self._broken and (reason := self._current.program.ended()):
            self._restart(reason)
        with self._turn:
            ended = [generation for generation in self._retired if not generation.leases]
            self._retired = [generation for generation in self._retired if generation.leases]
        for generation in ended:
            generation.program.close()
        if self._follower is not None:
            # The memory of a replica is for two generations.
            leaving = {name for generation in self._retired for name in generation.program.adapters}
            self._follower.step(leaving=leaving, change=not self._retired)

    def _restart(self, reason: str) -> None:
        log.error("%s", reason)
        self._fail(for_good=True)
        try:
            self._serve(self._follower.loaded if self._follower is not None else {})
        except Exception as e:
            self._broken = f"{reason}\nIt could not be started again: {e}"
            log.exception("llama.cpp of %s could not be started again", self._model)

    def renew(self) -> None:
        """Repeats what this replica reports."""
        if self._follower is not None:
            self._follower.renew()

    def close(self) -> None:
        """Ends all servers, and waits until they have ended."""
        self.closing.set()
        self._wake.set()
        with self._turn:
            generations = [*self._retired, *([self._current] if self._current is not None else [])]
            self._retired = []
        for generation in generations:
            generation.program.close()
        if self._follower is not None:
            self._follower.close()

    def __del__(self) -> None:
        if hasattr(self, "_follower") and not self.closing.is_set():
            self.close()
