"""Checks of answers by code."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from serving.hub.evaluation.answers import Answer, RunProgram
from serving.protocol.suites import (
    AbsentCheck,
    Check,
    CitationsCheck,
    CodeCheck,
    ContainsCheck,
    ExactCheck,
    JsonCheck,
    LengthCheck,
    RegexCheck,
    Suite,
)
from serving.store.errors import InvalidValue


async def passes(checks: Sequence[Check], answer: Answer, run: RunProgram) -> bool | None:
    """Returns whether an answer passes all checks, None if there are none. No answer passes none."""
    if not checks:
        return None
    if answer.error is not None:
        return False
    for check in checks:
        if not await _passes(check, answer, run):
            return False
    return True


async def _passes(check: Check, answer: Answer, run: RunProgram) -> bool:
    text = answer.text
    match check:
        case ExactCheck():
            return _folded(text.strip(), check.ignore_case) == _folded(check.text.strip(), check.ignore_case)
        case ContainsCheck():
            return _folded(check.text, check.ignore_case) in _folded(text, check.ignore_case)
        case AbsentCheck():
            return _folded(check.text, check.ignore_case) not in _folded(text, check.ignore_case)
        case RegexCheck():
            return _matches(check.pattern, text)
        case JsonCheck():
            return _is_object(text, check.required)
        case CodeCheck():
            value = await run(text, check.then)
            return value is not None and value.strip() == check.expect.strip()
        case CitationsCheck():
            cited = answer.beside.get("citations") or ()
            supported = all(each.get("support", 0) >= check.min_support for each in cited)
            return bool(cited) and supported and not answer.beside.get("unsupported")
        case LengthCheck():
            return len(text) <= check.max_characters


def check_patterns(suite: Suite) -> None:
    """Raises `InvalidValue` for the first regular expression that RE2 does not accept."""
    for i, prompt in enumerate(suite.prompts):
        for j, check in enumerate(prompt.checks):
            if isinstance(check, RegexCheck):
                try:
                    _matches(check.pattern, "")
                except ValueError:
                    where = f"prompts[{i}].checks[{j}].pattern"
                    raise InvalidValue(where, "is not a regular expression in RE2's syntax") from None


def _folded(text: str, ignore_case: bool) -> str:
    return text.casefold() if ignore_case else text


def _matches(pattern: str, text: str) -> bool:
    """Returns whether a pattern matches a part of `text`, in linear time. Raises `ValueError`."""
    import pyarrow as pa  # imported late: it takes long, and few suites have regular expressions
    import pyarrow.compute as pc

    return bool(pc.match_substring_regex(pa.scalar(text), pattern).as_py())


def _is_object(text: str, required: Sequence[str]) -> bool:
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        text = text[text.index("\n") : -3]
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(document, dict) and all(name in document for name in required)
