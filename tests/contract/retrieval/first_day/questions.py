"""What a newcomer asks about the documents, written before any answer was looked at and not changed since."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and what the right answer contains, which stands in one place of one document.

    `expected` is None if no document says it: then a refusal is right.
    """

    text: str
    expected: str | None


QUESTIONS = (
    Question("Who is in charge of the station at Crag Hut?", "Hanne Lindqvist"),
    Question("How fast may the cabins go when gusts reach 60 km/h?", "3.2 m/s"),
    Question("How much extra do I get for working the night shift?", "41.75 crowns"),
    Question("What do I have to do when a passenger leaves an umbrella in a cabin?", "green cupboard"),
    Question("What does a return ticket to the summit cost for a child?", "17.35"),
    Question("What discount does a school class get?", "35%"),
    Question("When does the last cabin go down in winter?", "16:40"),
    Question("Can I come with a wheelchair?", "88 cm"),
    Question("How often is the haul rope inspected?", "every 9 weeks"),
    Question("Why did the line stand still in March 2029?", "sheave on tower 8"),
    Question("What is the salary of the director?", None),
    Question("How do I renew my passport?", None),
)

FRESH = (
    Question("Until when can I buy a season pass?", "2031-06-30"),
    Question("How long does it take to get a new grip spring?", "47 days"),
    Question("How many vacation days do I have after twelve years?", "Days of leave: 33"),
    Question("Where do I find the harness for getting out of a cabin?", "under the left bench"),
    Question("Which bus comes from Sankt Wolf, and how long does it take?", "Minutes: 57"),
    Question("Is there wireless internet in the cabins?", None),
)
"""Written when the readers of Markdown and workbooks had been mended, again before any answer was looked at."""
