"""Extracts the answer from a model's text, normalises equal answers, and counts votes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

_NUMBER = re.compile(r"[-−+]?[$€£]?(?:\d+(?:,\d{3})*(?!\d)(?:\.\d+)?(?:[eE][-+]?\d{1,3})?|\.\d+)")
_GOES_ON = re.compile(r"\s*[/:-]\s*\d")
"""Follows a number that is part of a fraction, a time or a date."""
_MARK = re.compile(r"(?:####|\b(?:the )?(?:final )?answer(?: is\b:?|:))", re.IGNORECASE)
_BOX = re.compile(r"\\boxed\{([^{}]*)\}")
_DECORATION = " \t\r\n*_`\"'“”()[]{}\\#"
LAST = 8192
"""Number of characters at the end of a text that are searched for its answer."""

MAX_VALUE = 200
"""Maximum number of characters of a value: votes compare answers, not essays."""


@dataclass(frozen=True, slots=True)
class FoundAnswer:
    """An answer: the text to show, and its normalised value."""

    text: str
    value: str


def find(text: str, *, whole: bool = True) -> FoundAnswer | None:
    """Returns the answer that `text` ends with; None when there is none.

    It follows the last `####` (as in GSM8K, Cobbe et al. 2021) or `The answer is`; without such a mark it is the last
    number. In a text that is not `whole`, only a marked answer counts, and not in the last line, which may be
    incomplete.
    """
    if not whole:
        text = text.rpartition("\n")[0]
    end = text[-LAST:]
    stop = len(end)
    for mark in reversed(list(_MARK.finditer(end))):
        line = next((line for line in end[mark.end() : stop].splitlines() if line.strip(_DECORATION + ".:")), "")
        if line:
            shown = line.strip().strip("*").strip()
            return FoundAnswer(shown, normalise(shown))
        stop = mark.start()
    numbers = _NUMBER.findall(end) if whole else ()
    return FoundAnswer(text.strip(), _number(numbers[-1])) if numbers else None


def normalise(answer: str) -> str:
    """Returns the form that equal answers share.

    If the text (after the last `=`) begins with a number, that is the answer, without currency, unit and zeros:
    `$1,234.0 a day` is `1234`. Any other answer is its words in lower case.
    """
    answer = _BOX.sub(r"\1", answer)
    last = answer.rpartition("=")[2].strip(_DECORATION)
    number = _NUMBER.match(last)
    if number and not _GOES_ON.match(last, number.end()):
        return _number(number.group())
    return " ".join(answer.strip(_DECORATION + ".,;:!").casefold().split())[:MAX_VALUE]


def value(text: str) -> str:
    """Returns the value of an answer's text: its leading number, the only number that it names, or its words."""
    if _NUMBER.match(text.strip(_DECORATION)):
        return normalise(text)
    found = find(text)
    return found.value if found else normalise(text)


def _number(text: str) -> str:
    plain = re.sub(r"[$€£,]", "", text).replace("−", "-")
    value = f"{Decimal(plain):f}"
    if "." in value:
        value = value.rstrip("0").rstrip(".")
    sign, digits = ("-", value[1:]) if value.startswith("-") else ("", value)
    digits = digits.lstrip("0") or "0"
    digits = f"0{digits}" if digits.startswith(".") else digits
    return (sign if digits != "0" else "")[:1] + digits[:MAX_VALUE]


@dataclass(frozen=True, slots=True)
class Vote:
    """The value of most answers, and their number."""

    value: str
    count: int


def majority(values: Sequence[str | None]) -> Vote | None:
    """Returns the value with the most votes; of equally frequent ones, the first. None abstains."""
    counted = Counter(value for value in values if value is not None).most_common(1)  # keeps the order of ties
    return Vote(*counted[0]) if counted else None
