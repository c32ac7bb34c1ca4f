"""An update of a cluster, or its end: what it does and whether that is wanted, before it runs, and what errors mean."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from infra.nodes.machines import CLOUDS
from tools.report import ToolError, say
from tools.stack.advice import advice
from tools.stack.backend import HOME
from tools.stack.changes import describe, describe_drift, losses, objections, protections, version_skews
from tools.stack.events import Events, read_events
from tools.stack.workspace import Workspace, interactive

SKIPS = ("--skip-preview", "-f")
YES = ("--yes", "-y")
DESTROY = "--destroy"


@dataclass(frozen=True)
class Consent:
    """What whoever called `up` agrees to in advance, by arguments."""

    yes: bool = False
    destroy: frozenset[str] = frozenset()
    """Names of resources that may be replaced or deleted with what they hold."""
    skip: bool = False
    """Whether there is no review at all."""
    rest: tuple[str, ...] = ()
    """Arguments for Pulumi."""

    @classmethod
    def from_arguments(cls, arguments: Sequence[str], target: str) -> Consent:
        """Reads the arguments of `up`.

        Raises:
            ToolError: an argument is incomplete, or nobody could answer the review's question.
        """
        yes = skip = False
        destroy: list[str] = []
        rest: list[str] = []
        remaining = iter(arguments)
        for argument in remaining:
            name, _, value = argument.partition("=")
            if argument in YES:
                yes = True
            elif argument in SKIPS:
                skip = True
            elif name == DESTROY:
                destroy.append(value or next(remaining, ""))
            else:
                rest.append(argument)
        if "" in destroy:
            raise ToolError(f"{DESTROY} needs the name of a resource, for example `{DESTROY} pool-gpu`")
        if skip and target in CLOUDS:
            raise ToolError(
                f"{SKIPS[0]} would change a cluster in a cloud without showing how; use --yes to answer its question"
            )
        if not yes and not interactive():
            raise ToolError(
                "`up` asks before it changes a cluster, but there is no terminal to answer at: see what would change by"
                " `make preview`, then run `make up` with ARGS=--yes"
            )
        return cls(yes, frozenset(destroy), skip, tuple(rest))


@dataclass(frozen=True)
class PurgeConsent:
    """What whoever called `purge` agrees to in advance, by arguments."""

    named: bool = False
    """Whether the arguments name the stack that is to be deleted."""
    rest: tuple[str, ...] = ()
    """Arguments for Pulumi."""

    @classmethod
    def from_arguments(cls, arguments: Sequence[str], stack: str) -> PurgeConsent:
        """Reads the arguments of `purge` on a cluster.

        Raises:
            ToolError: they name another stack, or none and nobody could answer the review's question.
        """
        names: list[str] = []
        rest: list[str] = []
        remaining = iter(arguments)
        for argument in remaining:
            name, _, value = argument.partition("=")
            if name == DESTROY:
                names.append(value or next(remaining, ""))
            elif argument not in (*YES, *SKIPS):
                rest.append(argument)
        if others := [name for name in names if name != stack]:
            raise ToolError(f"{DESTROY} names '{others[0]}', but this would delete the stack '{stack}'")
        if not names and (len(rest) < len(arguments) or not interactive()):
            raise ToolError(
                "`purge` deletes a cluster's data, and first asks for the name of the stack; to answer beforehand, give"
                f' the name by ARGS="{DESTROY} {stack}"'
            )
        return cls(bool(names), tuple(rest))


def refresh_arguments(target: str, arguments: Sequence[str]) -> list[str]:
    """Returns Pulumi's argument to look for drift first, as for all targets in a cloud unless `arguments` decide.

    It takes a request per object. Elsewhere the cluster itself restarts pods that die, and `make drift` looks for more.
    """
    decided = any(a == "-r" or a.partition("=")[0] == "--refresh" for a in arguments)
    return [] if decided or target not in CLOUDS else ["--refresh"]


@contextmanager
def event_log(stack: str) -> Iterator[Path]:
    """Yields the path of a file for the engine's events, which is deleted afterwards."""
    folder = HOME / stack
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="events-", dir=folder) as private:
        yield Path(private) / "log"


def preview(workspace: Workspace, arguments: Sequence[str], lock: IO[str]) -> tuple[int, Events]:
    """Lets Pulumi show what an update would do; returns the exit status, and what its engine found."""
    with event_log(workspace.stack) as log:
        refresh = refresh_arguments(workspace.target, arguments)
        status = workspace.pulumi("preview", *refresh, *arguments, lock=lock, events=log)
        return status, read_events(log)


def update(workspace: Workspace, arguments: Sequence[str], lock: IO[str]) -> int:
    """Runs an update that needs no answer, and returns its exit status; a failure ends with what to do about it."""
    with event_log(workspace.stack) as log:
        status = workspace.pulumi("up", "--yes", "--skip-preview", *arguments, lock=lock, events=log)
        if status:
            explain(read_events(log))
    return status


def explain(events: Events) -> None:
    """Prints what to do about errors whose cause is known."""
    if lines := advice(events.failures):
        say("\nWhat to do:")
        say("\n".join(f"  {line}" for line in lines))


def show(events: Events) -> None:
    """Prints in plain words what an update would do, and what somebody else did before."""
    if lines := list(describe_drift(events.drift)):
        print("\nChanged by somebody else since the last `up`; this one sets it back:")
        print("\n".join(lines))
    print()
    print("\n".join(describe(events.changes)))
    for chart in events.unseen:
        print(f"  unknown  objects of the chart {chart}: the cluster's credentials are only known during the update")


def review(workspace: Workspace, consent: Consent, quiet: Sequence[str], lock: IO[str]) -> int:
    """Previews an update, says what it changes, and asks; returns 0 if it may run, else the exit status.

    Nothing is changed meanwhile.
    """
    status, events = preview(workspace, [*quiet, *consent.rest], lock)
    if refused := objections(events.changes, consent.destroy, workspace.stack):
        say("error: this update would destroy resources that hold data or machines, so nothing was changed:")
        say("\n".join(refused))
        return 1
    if refused := version_skews(events.changes):
        say("error: Kubernetes supports no such upgrade, so nothing was changed (headrace:cluster.kubernetes_version):")
        say("\n".join(refused))
        return 1
    if status:
        explain(events)
        return status
    show(events)
    if not any(c.custom for c in events.changes) or consent.yes or _agreed():
        return 0
    say("Nothing was changed.")
    return 1


def review_purge(workspace: Workspace, consent: PurgeConsent, quiet: Sequence[str], lock: IO[str]) -> int:
    """Says what the end of a stack deletes, and asks for its name; returns 0 if it may run, else the exit status.

    Nothing is deleted meanwhile.
    """
    with event_log(workspace.stack) as log:
        status = workspace.pulumi("destroy", "--preview-only", *quiet, *consent.rest, lock=lock, events=log)
        events = read_events(log)
    if refused := protections(events.changes):
        say("error: parts of this stack are protected from deletion, so nothing was deleted:")
        say("\n".join(refused))
        return 1
    if status:
        explain(events)
        return status
    print()
    print("\n".join(losses(events.changes, workspace.stack)))
    if not any(c.custom for c in events.changes) or consent.named or _answer("Type its name: ") == workspace.stack:
        return 0
    say("Nothing was deleted.")
    return 1


def _agreed() -> bool:
    return _answer("Change these resources? [y/N] ").lower() in ("y", "yes")


def _answer(question: str) -> str:
    try:
        return input(question).strip()
    except EOFError:
        return ""
