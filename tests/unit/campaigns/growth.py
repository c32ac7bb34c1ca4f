"""Whether a function's time grows faster than n log n, told by doublings of processor time, never by a clock."""

from __future__ import annotations

import math
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

DOUBLINGS = 4
ALLOWED = 64
"""Most growth over `DOUBLINGS`: of what is linear 16, of n log n under 32, of what is quadratic 256."""

FLOOR_S = 0.0002
"""Less processor time than this is not told from nothing."""

FIRST_S = 1.0
"""Processor time after which the shortest text has taken too long: what is exponential would not end."""

TRIES = 3


@dataclass(frozen=True, slots=True)
class Shape:
    """A text of any length: `unit` again and again, between `before` and `after`."""

    unit: str
    before: str = ""
    after: str = ""

    def of(self, length: int) -> str:
        """Returns the text of about `length` characters."""
        return self.before + self.unit * (length // len(self.unit)) + self.after


SPACES = " \t\n\r\x0b\x1c\x85\u00a0\u2003\u2028\u3000"
MARKS = "<>[](){}\"'“”‘’`*_#|-+=~/\\:;,.!?…。@&%$^•\u0301\u200b\ufe0f\U000e0041"
LETTERS = "aA1東éａ😀"
WORDS = (
    *("<!---->", "<!--", "-->", "<a", "<a ", "</a>", "<b>", "<div>", "<h1>", "<html", "<![CDATA[", "<?"),
    *("not ", "n't ", "not, ", "but ", "ab ", "Ab ", "e.g. ", "a. ", "1. ", "1,", "1,234", "1.5 ", "\n1) ", ". "),
    *("a\u0301", "](", "[a](", "![", "[^a]", "``", "```", "```\n", "~~~\n", "**a ", "_a ", "*a _b ", "\n- ", "  - "),
    *("# a\n", "\n\n", "\n \n", " \n", "|a", "|a|b|\n|-|-|\n", "---\n", "title:", "title: ", "\\a", "\\n", "\\["),
    *("\nThought:", "\nAction: a", "\nAction Input: ", "\nFinal Answer:", "The answer is ", "#### ", "\\boxed{"),
    *("%41", "%25", "a@", "http://a", "eyJ", "a:", "a.", "x=", "def a(", "password: ", "ignore all ", "system: "),
    *("{'a':", "> ", "。\n", "&#1", "&amp;", "a-", "a'"),
)
KNOWN = (
    *(Shape(space, "a", "b") for space in " \n\u2003"),
    *(Shape(unit, after="x") for unit in ("<!---->", "<!--", "not ", "not, ", "e.g. ", "1. ", "\n- ", "a\u0301")),
    *(
        Shape(unit)
        for unit in ("[", "](", "`", "<a ", "a", "1", "1,234", '"', "。", ".", "ab ", "**a ", "\n \n", "&#1")
    ),
    *(Shape(unit) for unit in ("<div>", "a 1. ", "ignore ", "eyJ", "password: ", "a@", "a.b-", "%41", "\"'")),
    Shape("a", "```"),
    Shape("e.g. ", " " * 500),
)
"""What once stood still, and its like."""


def shapes(seed: int, count: int) -> Iterator[Shape]:
    """Yields the known shapes, then `count` made of one to three of all pieces."""
    yield from KNOWN
    choose = random.Random(seed)
    pieces = [*SPACES, *MARKS, *LETTERS, *WORDS]
    for _ in range(count):
        unit = "".join(choose.choices(pieces, k=choose.choice((1, 1, 2, 3))))
        yield Shape(unit, choose.choice(("", "a", *pieces)), choose.choice(("", "b", *pieces)))


def superlinear(work: Callable[[str], object], shape: Shape, length: int) -> bool:
    """Whether the time of `work` grows faster than n log n from a text of `length` on, at each of several tries."""
    for _ in range(TRIES):
        short = min(_seconds(work, shape.of(length), FIRST_S), _seconds(work, shape.of(length), FIRST_S))
        if short == math.inf:
            return True
        allowed = ALLOWED * max(short, FLOOR_S)
        # The timer counts in ticks of the kernel: it only ends what would not end, and judges nothing.
        if _seconds(work, shape.of(length << DOUBLINGS), 2 * allowed + FIRST_S) <= allowed:
            return False
    return True


class _TooLong(BaseException):
    """Raised wherever the work is: pattern matching looks for signals too."""


def _seconds(work: Callable[[str], object], text: str, limit: float) -> float:
    """Returns the processor seconds of `work`, infinity over the limit.

    The clock is the thread's: while a timer is set, that of the process moves in ticks.
    """
    try:
        with _limited(limit):
            start = time.thread_time()
            work(text)
            return time.thread_time() - start
    except _TooLong:
        return math.inf


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
