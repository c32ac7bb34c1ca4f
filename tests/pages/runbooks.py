"""The commands in runbooks: which a host runs, which ask a cluster, which ask Prometheus."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.pages import snippets

Kind = Literal["host", "kubectl", "promql"]

HOST = {
    *(".venv/bin/python", "curl", "df", "dmesg", "du", "free", "git", "grep", "headrace", "make", "openssl", "ps"),
    *("sh", "tail", "top", "vmstat"),
}
"""Programs that commands on the host of a stack begin with; an operator's host has all of them."""

_INLINE = re.compile(r"(?<!`)`((?:kubectl|headrace) [^`\n]+)`(?!`)")


@dataclass(frozen=True)
class Command:
    """One line of a block of code, or a command in a sentence: `inline`. `place` is its page with the line."""

    page: str
    place: str
    kind: Kind
    text: str
    inline: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def pages() -> list[str]:
    """Returns the runbooks, as the repository names them."""
    return [str(path.relative_to(snippets.ROOT)) for path in sorted(snippets.ROOT.glob("monitoring/runbooks/*.md"))]


def of(page: str) -> Iterator[Command]:
    """Yields the commands of a runbook: each line of its blocks, then those in its sentences.

    Raises `ValueError` for a block or a command of which nobody says who runs it.
    """
    blocks = list(snippets.of(page))
    for block in blocks:
        for number, line in enumerate(block.text.splitlines(), block.line + 1):
            if line.strip():
                place = f"{page}:{number}"
                yield Command(page, place, kind_of(block.language, line, place), line)
    prose = (snippets.ROOT / page).read_text(encoding="utf-8")
    for block in blocks:
        prose = prose.replace(block.text, "")
    for text in _INLINE.findall(prose):
        yield Command(page, page, kind_of("sh", text, page), text, inline=True)


def kind_of(language: str, line: str, place: str) -> Kind:
    """Returns who runs a line of a block in `language`; raises `ValueError` if nobody is known to."""
    if language == "promql":
        return "promql"
    if language != "sh":
        raise ValueError(f"{place}: a block of {language or 'no language'}, but runbooks have only sh and promql")
    program = line.split()[0]
    if program == "kubectl":
        return "kubectl"
    if program in HOST:
        return "host"
    raise ValueError(f"{place}: {program} is neither kubectl nor a program of the host: {', '.join(sorted(HOST))}")


def kubectl_arguments(command: Command) -> list[Sequence[str]]:
    """Returns what each kubectl of a pipe is given."""
    words = shlex.shlex(command.text, posix=True, punctuation_chars="|")
    words.whitespace_split = True
    stages: list[list[str]] = [[]]
    for word in words:
        if word == "|":
            stages.append([])
        else:
            stages[-1].append(word)
    return [stage[1:] for stage in stages if stage[0] == "kubectl"]


CLUSTER = "needs a stack on a cluster"
RELEASE = "needs a release; tests/contract/hub/test_release_routes.py has some"

NOT_RUN: dict[str, str] = {
    ".venv/bin/python -m tools.stack --stack mine forward": CLUSTER,
    "make up STACK=mine ARGS=--refresh": CLUSTER,
    "make plan": CLUSTER,
    "headrace hub releases get": RELEASE,
}
"""Why no test runs a command of the host on a stack of this host, by how the command begins."""


def reason(command: Command) -> str | None:
    """Returns why no test runs a command of the host on a stack; None for one that a test runs."""
    return next((why for beginning, why in NOT_RUN.items() if command.text.startswith(beginning)), None)


def on_host(page: str) -> list[Command]:
    """Returns what a test types on the host of a stack: commands in blocks and in sentences."""
    return [one for one in of(page) if one.kind == "host" and reason(one) is None]
