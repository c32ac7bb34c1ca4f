"""One round of the script, and every figure that counts: usage, the log, the captures and the exporter's counters."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.contract.monitoring.accountant import counters, records, traffic
from tests.contract.monitoring.accountant.ledger import Ledger
from tests.contract.monitoring.accountant.truth import Book
from tests.contract.monitoring.accountant.world import Waiting, World, standing


@dataclass
class Played:
    """The stack after the round, and what is wrong by the name of each figure."""

    ledger: Ledger
    wrong: dict[str, list[str]]


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    with standing(tmp_path_factory.mktemp("accountant")) as world:
        callers = world.run(traffic.settle(world.client, world.operator))

        async def unheard() -> None:
            return

        world.run(traffic.play(world.client, callers, Waiting(world), 0, unheard))
        world.settled()
        book, log = _book(world), world.log()
        wrong = dict(counters.compared(world, book))
        # Last, since whoever asks for usage sends requests.
        yield Played(book.ledger, wrong | dict(records.compared(world, book, log)))


def _book(world: World) -> Book:
    ledger = Ledger(list(world.client.ledger))
    log = {line["request_id"]: line for line in world.log()}
    return Book(ledger, ledger, log, 0, 0, world.folder, world.exporter, world.client.warnings)


def test_every_figure_that_counts_is_true(played):
    assert {name: wrong for name, wrong in played.wrong.items() if wrong} == {}


def test_the_round_has_every_kind_of_request_and_every_end(played):
    """So that no figure is true since nothing happened."""
    assert {entry.outcome for entry in played.ledger} == {"ok", "refused", "error", "cancelled"}
    assert {"log", "captures", "ratings", "/v1/usage?by=model"} <= played.wrong.keys()
    assert counters.TRUTHS.keys() <= played.wrong.keys()
