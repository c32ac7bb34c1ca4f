"""What people ask about the ten files, written before any answer was looked at and not changed since."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a file, what the right answer contains, and its page if the format has pages."""

    file: str
    text: str
    expected: str
    page: int | None = None


QUESTIONS = (
    Question("kennel.md", "When do the dogs get their food?", "seven in the morning"),
    Question("kennel.md", "Which dogs have to wear a muzzle?", "Greyhounds"),
    Question("shelves.csv", "How much does the green kettle cost?", "23.90"),
    Question("shelves.csv", "How many egg timers are in stock?", "112"),
    Question("minutes.txt", "Who will replace the valve of the water tank?", "Dev will replace"),
    Question("minutes.txt", "When is the next meeting?", "9 April"),
    Question("soup.html", "How much barley do I need for the soup?", "250 g"),
    Question("soup.html", "How long does the soup have to simmer?", "fifty minutes"),
    Question("lease.pdf", "What is the monthly rent?", "940 euros", 2),
    Question("lease.pdf", "May the tenant keep a dog?", "written consent", 3),
    Question("offer.docx", "What does the roof repair cost?", "18,650"),
    Question("offer.docx", "How long is the warranty on the slate?", "eight years"),
    Question("budget.xlsx", "How much was spent on flowers?", "615"),
    Question("budget.xlsx", "Who is responsible for the catering?", "Bashir"),
    Question("launch.pptx", "How many passengers can the Heron carry?", "220", 2),
    Question("launch.pptx", "Who is the captain of the ferry?", "Solveig Brandt", 1),
    Question("delivery.eml", "What is the tracking number of the bookcase?", "NG-77410-B"),
    Question("delivery.eml", "When will the bookcase be delivered?", "Thursday between ten and one"),
    Question("loom.md", "How tight do the long bolts have to be?", "14 newton metres"),
    Question("loom.md", "What kind of bulb does the lamp need?", "seven watts"),
)

OF_THE_DOCUMENTATION = "How do I rotate an API key?"
"""Answered by the assistant's own documents, whatever is attached."""

UNKNOWN = "What is the capital of Mongolia?"
"""Answered by neither."""
