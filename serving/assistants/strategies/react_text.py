"""ReAct's text protocol, for models without tool calls: Thought, Action, Action Input, Observation, Final Answer.

Source: Yao et al. 2023, ReAct: Synergizing Reasoning and Acting in Language Models. The paper's own notation,
`Search[x]` and `Finish[x]`, is understood too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

STOP = ("\nObservation:",)
"""Stop text: the platform writes the observation, not the model."""

FORM = "Write Action and Action Input in a line each, or Final Answer"

_MARK = re.compile(
    r"^[ \t>*#]*(thought|action input|action|observation|final answer)[ \t]{0,4}\d{0,4}[ \t]{0,4}\*{0,4}:\*{0,4}",
    re.IGNORECASE | re.MULTILINE,
)
_CALL = re.compile(r"([\w.-]+)\s*(?:\[(.*)\]|\((.*)\))", re.DOTALL)
_OPENING = re.compile(r"```[\w-]*\n?")


@dataclass(frozen=True, slots=True)
class Action:
    """A tool call. `said` is the text up to it, the part that is really the model's."""

    thought: str
    tool: str
    arguments: str
    said: str


@dataclass(frozen=True, slots=True)
class Final:
    """The final answer."""

    thought: str
    answer: str


def parse(text: str) -> Action | Final | None:
    """Returns the first action or answer in a model's text; None when it has neither.

    Text after an action is ignored: the model made up its observation.
    """
    marks = list(_MARK.finditer(text))
    thought = ""
    for i, mark in enumerate(marks):
        end = marks[i + 1].start() if i + 1 < len(marks) else len(text)
        kind, body = mark[1].lower(), text[mark.end() : end].strip()
        if i == 0:
            thought = text[: mark.start()].strip()
        if kind == "thought":
            thought = f"{thought}\n{body}".strip()
        elif kind == "observation":
            return None
        elif kind == "final answer":
            answer = text[mark.end() :].strip()
            return Final(thought, answer) if answer else None
        elif kind == "action":
            following = marks[i + 1] if i + 1 < len(marks) else None
            arguments = ""
            if following is not None and following[1].lower() == "action input":
                end = marks[i + 2].start() if i + 2 < len(marks) else len(text)
                arguments = text[following.end() : end].strip()
            return _action(thought, body, arguments, text[:end].rstrip())
    return None


def _action(thought: str, body: str, arguments: str, said: str) -> Action | Final | None:
    name = body.strip("`'\"*[] \t.")
    call = _CALL.fullmatch(body.strip("`*. \t"))
    if call is not None and not arguments:
        name, arguments = call[1], (call[2] if call[2] is not None else call[3]).strip()
    if not name:
        return None
    if name.lower() == "finish":
        return Final(thought, arguments) if arguments else None
    return Action(thought, name.lower(), _unfenced(arguments), said)


def _unfenced(arguments: str) -> str:
    """Returns the content of a fence around all of the arguments, else the arguments."""
    opening = _OPENING.match(arguments)
    if opening is None or len(arguments) < 6 or not arguments.endswith("```"):
        return arguments
    return arguments[min(opening.end(), len(arguments) - 3) : -3].removesuffix("\n")
