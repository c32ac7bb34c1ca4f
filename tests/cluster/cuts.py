"""What may happen to a machine while an `up` is under way."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tests.wait import eventually
from tools.cluster.onprem import Stack
from tools.machines import network
from tools.machines.machine import Machine
from tools.report import ToolError

KINDS = ("power", "link", "ssh")
LINK_CUT_S = 20
"""SSH takes a connection for lost after 15."""


@dataclass(frozen=True)
class Cut:
    """What happens to a machine, and the words of progress (a pattern) at which it does."""

    kind: str
    machine: str
    words: str

    def __str__(self) -> str:
        return f"{self.kind}-{self.machine}-{re.sub(r'[^a-z]+', '-', self.words.split(': ')[-1].lower()).strip('-')}"

    def happen(self, machine: Machine) -> None:
        """Does it, and what ends it."""
        match self.kind:
            case "power":
                kill(machine)
                machine.up()
            case "link":
                network.link(machine.name, "down")
                time.sleep(LINK_CUT_S)
                network.link(machine.name, "up")
            case _:
                machine.run(["pkill", "-KILL", "-f", "^sshd: root"], check=False)


def seeded(*stages: Sequence[tuple[str, str]]) -> Iterator[Cut]:
    """One moment of each stage (at most three of machine and words), and a different thing that happens at each."""
    chance = random.Random(os.environ.get("HEADRACE_SEED", "5"))
    for kind, moments in zip(chance.sample(KINDS, k=3), stages, strict=False):
        yield Cut(kind, *chance.choice(moments))


def up_but(stack: Stack, cut: Cut, machine: Machine) -> str:
    """An `up` in which something happens; it may end well all the same. Returns what it said."""
    said: list[str] = []
    happened: list[Cut] = []

    def heard(line: str) -> None:
        said.append(line)
        if not happened and re.search(cut.words, line):
            happened.append(cut)
            cut.happen(machine)

    with suppress(ToolError):
        stack.up(on_line=heard)
    assert happened, "".join(said)[-6000:]
    return "".join(said)


def kill(machine: Machine) -> None:
    """Power is cut: nothing is written any more."""
    assert machine.pid
    os.kill(machine.pid, signal.SIGKILL)
    eventually(lambda: machine.pid is None, f"{machine.name} is off")
