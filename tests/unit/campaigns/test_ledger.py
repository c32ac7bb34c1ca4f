"""The judge of the campaigns sees every kind of loss: a sound ledger passes, and each way to spoil it does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract.campaigns.ledger import Capture, Found, Item, Rating, Response, Told, Turn, answer, violations

CONVERSATION = "conv_1"


def sound() -> tuple[Told, Found]:
    """Two turns of a conversation, a chain of two responses, a rating; a turn and a rating were never acknowledged."""
    told = Told(
        tried={"a", "b", "c", "d", "lost", "kept"},
        turns=[
            Turn("a", "chatcmpl-a", CONVERSATION, None),
            Turn("b", "resp_b", CONVERSATION, None),
            Turn("c", "resp_c", None, None),
            Turn("d", "resp_d", None, "resp_c"),
        ],
        rated={"fb_a", "fb_b"},
        ratings=[Rating("fb_a", "chatcmpl-a", "up", "a")],
    )
    found = Found(last={CONVERSATION: 6})
    found.items[CONVERSATION] = [
        item
        for n, marker in enumerate(("a", "kept", "b"))
        for item in (
            Item(f"q{marker}", 2 * n + 1, "user", marker),
            Item(f"a{marker}", 2 * n + 2, "assistant", answer(marker)),
        )
    ]
    found.captures = [
        Capture("chatcmpl-a", "a", "completed", "aa"),
        Capture("chatcmpl-k", "kept", "completed", "akept"),
        Capture("chatcmpl-l", "lost", "cancelled", None),
        Capture("resp_b", "b", "completed", "ab"),
        Capture("resp_c", "c", "completed", None),
        Capture("resp_d", "d", "completed", None),
    ]
    chain = (("b", None), ("c", None), ("d", "resp_c"))
    found.responses = [Response(f"resp_{m}", previous, m, answer(m)) for m, previous in chain]
    found.ratings = [Rating("fb_a", "chatcmpl-a", "up", "a"), Rating("fb_b", "resp_c", None, "b")]
    return told, found


def numbered(found: Found, items: list[Item]) -> None:
    found.items[CONVERSATION] = [item._replace(seq=n) for n, item in enumerate(items, 1)]
    found.last[CONVERSATION] = len(items)


def without_turn(told: Told, found: Found) -> None:
    numbered(found, found.items[CONVERSATION][2:])
    del found.captures[0]


def twice(told: Told, found: Found) -> None:
    items = found.items[CONVERSATION]
    again = [item._replace(id=f"{item.id}2") for item in items[:2]]
    numbered(found, items + again)
    found.captures.append(Capture("chatcmpl-2", "a", "completed", "aa2"))


def half(told: Told, found: Found) -> None:
    numbered(found, found.items[CONVERSATION][:-1])


def swapped(told: Told, found: Found) -> None:
    one, two, three, four, *rest = found.items[CONVERSATION]
    numbered(found, [one, four, three, two, *rest])


def gap(told: Told, found: Found) -> None:
    found.items[CONVERSATION][-1] = found.items[CONVERSATION][-1]._replace(seq=7)


def replaced(of: str, index: int, **changes: object) -> Callable[[Told, Found], None]:
    def spoil(told: Told, found: Found) -> None:
        rows = getattr(found, of)
        rows[index] = rows[index]._replace(**changes)

    return spoil


def removed(of: str, index: int) -> Callable[[Told, Found], None]:
    return lambda told, found: getattr(found, of).pop(index)


def repeated(of: str, index: int) -> Callable[[Told, Found], None]:
    return lambda told, found: getattr(found, of).append(getattr(found, of)[index])


SPOILT = {
    "an acknowledged turn is lost": without_turn,
    "a turn is there twice": twice,
    "an answer is lost": half,
    "answers are swapped": swapped,
    "a number is left out": gap,
    "a capture is lost": removed("captures", 0),
    "a capture of what was not acknowledged is lost": removed("captures", 1),
    "a capture is there twice": repeated("captures", 4),
    "a capture says another outcome": replaced("captures", 4, outcome="error"),
    "a capture is of another turn": replaced("captures", 4, marker="d"),
    "a capture names no item": replaced("captures", 4, item_id="gone"),
    "a response is lost": removed("responses", 1),
    "a response is there twice": repeated("responses", 1),
    "a response follows nothing": replaced("responses", 2, previous=None),
    "a response says something else": replaced("responses", 2, answer="?"),
    "a rating is lost": removed("ratings", 0),
    "a rating is there twice": repeated("ratings", 0),
    "a rating is another": replaced("ratings", 0, thumb="down"),
    "a rating is of nobody": replaced("ratings", 1, id="fb_x"),
    "a turn is of nobody": lambda told, found: told.tried.remove("kept"),
    "a caller was told what is not so": lambda told, found: told.wrong.append("404"),
}


def test_a_sound_ledger_passes() -> None:
    assert violations(*sound()) == []


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_lost_and_doubled_writes_are_detected(spoil: Callable[[Told, Found], object]) -> None:
    told, found = sound()
    spoil(told, found)
    assert violations(told, found)
