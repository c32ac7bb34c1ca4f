"""The guardrails of one request: applies checks to its texts, and reports findings."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from serving.config import GuardAction, GuardedText
from serving.core.principal import Principal
from serving.guardrails.classifiers import Classifiers, NoVerdict
from serving.guardrails.rails import Rails, Stage
from serving.guardrails.screen import Rule, RuleFinding, Screened, screen, screen_arguments
from serving.retrieval.excerpts.quote import with_text
from serving.retrieval.types import Hit
from serving.telemetry import metrics

MAX_REPORTED = 100
"""Maximum number of reported findings of one request; all are counted."""

LONG = 4000
"""Length in characters from which a text is checked in a thread, so that other streams continue meanwhile."""

REMOVED = "[removed by a guardrail]"
By = Callable[[str, Sequence[Rule]], Screened]
TEXTS = ("content", "text", "reasoning_content", "reasoning", "refusal")
"""Fields of a choice, its message or its delta with text of the model."""

_BESIDE = ThreadPoolExecutor(2, thread_name_prefix="guardrails")
"""Separate threads: long checks do not occupy the store's threads."""

INSTRUCTIONS = ("system", "developer")
"""Roles of messages with instructions."""

_NOT_JUDGED = (*INSTRUCTIONS, "description")


class ArgumentsBlocked(Exception):
    """A guardrail blocks the arguments of a call. The message is for the model."""


class GuardrailChecker:
    """Checks the texts of one request; `report` has the location and kind of each finding, but not its text.

    With `trusting`, instructions are considered to be the application developer's: they are checked only for secrets
    and personal data. Otherwise they are checked like text of the user.
    """

    def __init__(self, rails: Rails, judges: Classifiers, caller: Principal, *, trusting: bool = False) -> None:
        self._rails = rails
        self._judges = judges
        self._caller = caller
        self._trusting = trusting
        self.report: list[dict[str, Any]] = []
        self.blocks: dict[str, tuple[str, str]] = {}  # check and kind that first blocked each location
        self.whole = True  # set when a model gives no verdict on input and the configuration then lets it pass

    @property
    def version(self) -> str:
        """Identifies the checks. Text that was trusted when it was stored is checked again where it is not trusted."""
        version = self._rails.version
        return version if self._trusting else hashlib.sha256(f"screen {version}".encode()).hexdigest()[: len(version)]

    @property
    def tenant(self) -> str:
        """The tenant whose texts are checked."""
        return self._caller.tenant

    @property
    def reads(self) -> bool:
        """Whether any input of the model is checked."""
        return bool(self._rails.input or self._rails.context)

    def apart(self) -> GuardrailChecker:
        """Returns the same checks with a separate report."""
        return GuardrailChecker(self._rails, self._judges, self._caller, trusting=self._trusting)

    def asks(self, role: str) -> bool:
        """Returns whether a text of that role is the user's, who asks for something."""
        return role == "user" or (role in INSTRUCTIONS and not self._trusting)

    @property
    def output(self) -> Stage:
        """The checks of an answer; false if there are none."""
        return self._rails.output

    async def check(self, text: str, on: GuardedText, place: str, role: str = "user", *, asks: bool = True) -> Screened:
        """Returns `text`, at the location `place`, after its checks; `asks` is as for `Classifiers.judge`.

        Raises `RetrievalUnavailable`.
        """
        stage: Stage = getattr(self._rails, on)
        rules = stage.rules
        if self.asks(role):
            role = "user"
        if role in INSTRUCTIONS:
            rules = tuple(rule for rule in rules if rule.name in ("secrets", "pii"))
        result = await screened(text, rules)
        self.note(result.found, on, place)
        if result.blocked or role in _NOT_JUDGED:
            return result
        for judge in stage.judges:
            try:
                kind = await self._judges.judge(judge, text, self._caller, asks=asks)
            except NoVerdict:
                self.whole = self.whole and on == "output"
                continue
            if kind is None:
                continue
            metrics.child(metrics.guardrail, judge.check, on, judge.action).inc()
            self._report(judge.check, kind, on, judge.action, place, 0, len(text))
            if judge.action == "block":
                self.blocks.setdefault(place, (judge.check, kind))
                return Screened("", result.found, True)
        return result

    async def check_message(self, text: str, role: str, place: str, *, asks: bool = True) -> Screened:
        """Like `check`, for a text of a request or of an earlier turn; `role` is as for `texts.OnText`."""
        if role == "arguments":
            return await self.call(text, place, "input")
        return await self.check(text, "context" if role == "tool" else "input", place, role, asks=asks)

    async def value(self, text: str, place: str) -> Screened:
        """Returns a value that is inserted into a prompt, after the checks of input by rules."""
        result = await screened(text, self._rails.input.rules)
        self.note(result.found, "input", place)
        return result

    async def blocks_joined(self, text: str, place: str) -> bool:
        """Returns whether values that follow each other may not be inserted, since they say together what none says.

        What would be removed from the text between two of them blocks too. Secrets and personal data are left out: the
        whole prompt is checked for them, and here the numbers of several values would look like one.
        """
        rules = tuple(rule for rule in self._rails.input.rules if rule.name not in ("secrets", "pii"))
        rails = replace(self._rails, input=replace(self._rails.input, rules=rules))
        apart = GuardrailChecker(rails, self._judges, self._caller)
        result = await apart.check(text, "input", place, asks=False)
        self.whole = self.whole and apart.whole
        removed = [found for found in result.found if found.action == "redact"]
        if removed:
            apart.blocks.setdefault(place, (removed[0].rule.name, removed[0].finding.kind))
        if place in apart.blocks:
            self.blocks.setdefault(place, apart.blocks[place])
            self.include([found for found in apart.report if found["action"] != "flag"])
        return place in apart.blocks

    async def hits(self, hits: Sequence[Hit]) -> list[Hit]:
        """Returns the chunks that the model may read: blocked ones are omitted."""
        if not self._rails.context:
            return list(hits)
        kept = []
        for hit in hits:
            result = await self.check(hit.text, "context", f"chunks.{hit.chunk_id}")
            if not result.blocked:
                kept.append(with_text(hit, result.text) if result.text != hit.text else hit)
        return kept

    async def observation(self, text: str) -> str:
        """Returns the part of a tool's result that the model may read."""
        result = await self.check(text, "context", "observation")
        return REMOVED if result.blocked else result.text

    async def arguments(self, arguments: str) -> str:
        """Returns the arguments with which a tool may be called; raises `ArgumentsBlocked`."""
        result = await self.call(arguments, "arguments")
        if result.blocked:
            raise ArgumentsBlocked("a guardrail blocks these arguments")
        return result.text

    async def call(self, arguments: str, place: str, on: GuardedText = "output") -> Screened:
        """Returns a call's arguments after their checks."""
        stage: Stage = getattr(self._rails, on)
        result = await screened(arguments, stage.rules, screen_arguments)
        self.note(result.found, on, place)
        return result

    async def step(self, text: str) -> str:
        """Returns a strategy's step in the form for the caller."""
        result = await screened(text, self.output.rules)
        self.note(result.found, "output", "steps")
        return REMOVED if result.blocked else result.text

    async def answer(self, choices: list[dict[str, Any]]) -> None:
        """Removes from the choices of a complete answer what checks do not allow; a blocked choice is
        truncated there.
        """
        for i, choice in enumerate(choices):
            message = choice.get("message")
            holder = message if isinstance(message, dict) else choice
            if "logprobs" in choice:
                choice["logprobs"] = None  # they contain the text once more
            blocked = False
            for name in TEXTS:
                if isinstance(text := holder.get(name), str) and text:
                    result = await self.check(text, "output", f"choices[{i}].{name}")
                    holder[name] = result.text
                    blocked = blocked or result.blocked
            for call in holder.get("tool_calls") or ():
                function = call.get("function") if isinstance(call, dict) else None
                if isinstance(function, dict) and isinstance(arguments := function.get("arguments"), str):
                    result = await self.call(arguments, f"choices[{i}].tool_calls")
                    function["arguments"] = result.text
                    blocked = blocked or result.blocked
            if blocked:
                holder.pop("tool_calls", None)
                choice["finish_reason"] = "content_filter"

    def note(self, found: Sequence[RuleFinding], on: GuardedText, place: str) -> None:
        """Counts and reports findings."""
        for (check, action), n in Counter((f.rule.name, f.action) for f in found).items():
            metrics.child(metrics.guardrail, check, on, action).inc(n)
        for f in found:
            if f.action == "block":
                self.blocks.setdefault(place, (f.rule.name, f.finding.kind))
                break
        for f in found[: MAX_REPORTED - len(self.report)]:
            self._report(f.rule.name, f.finding.kind, on, f.action, place, f.finding.start, f.finding.end)

    def include(self, report: Sequence[dict[str, Any]]) -> None:
        """Adds the findings of another report."""
        self.report += report[: MAX_REPORTED - len(self.report)]

    def _report(
        self, check: str, kind: str, on: GuardedText, action: GuardAction, place: str, start: int, end: int
    ) -> None:
        if len(self.report) < MAX_REPORTED:
            entry = {"check": check, "kind": kind, "on": on, "action": action, "place": place}
            self.report.append({**entry, "start": start, "end": end})


async def screened(text: str, rules: Sequence[Rule], by: By = screen) -> Screened:
    """Returns `text` after the rules; a long one is checked in a thread."""
    if not rules:
        return Screened(text)
    if len(text) <= LONG:
        return by(text, rules)
    return await asyncio.get_running_loop().run_in_executor(_BESIDE, by, text, rules)
