"""Compares raters: whether their ratings agree with those of others about almost the same prompt.

Rows are compared before duplicates are left out, since of two opposite ratings of one pair only the newest gives a row.
Memory grows with the raters, and not with the rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson

from serving.config import Strict
from serving.exports.formats import Chat, FineTunePreference, Preference, UnpairedPreference
from serving.exports.near_duplicates import bands_of, likeness, runs, words_of
from serving.exports.scratch import Scratch

ALIKE = 0.8
"""Likeness of prompts that count as the same: questions that differ in one name are less alike."""

SAME_ANSWER = 0.5
"""Likeness of answers that two ratings must have for their labels to be compared."""

UNDECIDED = 0.1
"""Two comparisons whose answers are no more alike in one order than in the other say nothing about each other."""

MAX_COMPARED = 64
"""Maximum number of earlier rows, each of another rater, that a row is compared with: the newest."""

MAX_CHARACTERS = 4000
"""An answer's beginning, which is compared."""

MAX_EXAMPLES = 5
"""Number of a rater's contradicted ratings that are kept."""

# Each part is limited, since very many people may be asked the same.
_ONE_BAND = "SELECT * FROM (SELECT row FROM bands WHERE band = ? AND rater != ? ORDER BY row DESC LIMIT ?)"


@dataclass(slots=True)
class RaterCounts:
    """Of one rater: comparisons with others' ratings, the sum of their agreement (each 0 to 1), and examples of ratings
    that were contradicted more than confirmed.
    """

    pairs: int = 0
    agreed: float = 0.0
    contradicted: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Judgement:
    """What a row says of a prompt: a good answer and a bad one, or one answer, with a label if it was judged."""

    answers: tuple[str, ...]
    label: bool | None = None


class RaterAgreement(Scratch):
    """The agreement of raters with each other, by user. Raises `StoreUnavailable` when the folder for temporary files
    is full.
    """

    TABLES = (
        "CREATE TABLE rows (id INTEGER PRIMARY KEY, rater TEXT, runs BLOB, said BLOB)",
        # The newest row of each rater: others' rows are compared once with each person.
        "CREATE TABLE bands (band BLOB, rater TEXT, row INTEGER, PRIMARY KEY (band, rater)) WITHOUT ROWID",
        "CREATE INDEX newest ON bands (band, row)",
    )
    CONTENT = "ratings"

    def __init__(self) -> None:
        self.raters: defaultdict[str, RaterCounts] = defaultdict(RaterCounts)
        self.pairs = 0
        self.agreed = 0.0

    def add(self, rater: str, rating: str, data: Strict) -> None:
        """Adds the row of a rating, and compares it with earlier ones of other raters about almost the same prompt."""
        if not rater or (found := _judgement(data)) is None:
            return
        prompt, said = found
        mine = self.raters[rater]
        these = runs(prompt)
        bands = bands_of(these)
        compared: list[float] = []
        with self._writing():
            met: set[str] = set()
            for other, kept, document in self._earlier(bands, rater):
                if other in met or likeness(these, np.frombuffer(kept, np.uint64)) < ALIKE:
                    continue
                met.add(other)
                agreed = _agreement(said, _Judgement(**orjson.loads(document)))
                if agreed is None:
                    continue
                compared.append(agreed)
                for one in (mine, self.raters[other]):
                    one.pairs += 1
                    one.agreed += agreed
            document = orjson.dumps({"answers": said.answers, "label": said.label})
            insert = "INSERT INTO rows (rater, runs, said) VALUES (?, ?, ?)"
            number = self._connection.execute(insert, (rater, these.tobytes(), document)).lastrowid
            keep = "INSERT OR REPLACE INTO bands VALUES (?, ?, ?)"
            self._connection.executemany(keep, [(band, rater, number) for band in set(bands)])
        self.pairs += len(compared)
        self.agreed += sum(compared)
        if compared and sum(compared) < len(compared) / 2 and len(mine.contradicted) < MAX_EXAMPLES:
            mine.contradicted.append(rating)

    def _earlier(self, bands: Sequence[bytes], rater: str) -> list[tuple[str, bytes, bytes]]:
        rows = " UNION ".join([_ONE_BAND] * len(bands))
        query = f"SELECT rater, runs, said FROM rows WHERE id IN ({rows}) ORDER BY id DESC LIMIT ?"  # noqa: S608
        given = [value for band in bands for value in (band, rater, MAX_COMPARED)]
        return self._connection.execute(query, (*given, MAX_COMPARED)).fetchall()


def _judgement(data: Strict) -> tuple[str, _Judgement] | None:
    """Returns the last message of a row's prompt, and what the row says of it; None for one without ratings."""
    match data:
        case Chat(messages=messages):
            return messages[-2].content, _Judgement((messages[-1].content,))
        case Preference(prompt=prompt, chosen=chosen, rejected=rejected):
            return prompt[-1].content, _Judgement((chosen[0].content, rejected[0].content))
        case FineTunePreference(input=asked, preferred_output=chosen, non_preferred_output=rejected):
            return asked.messages[-1].content, _Judgement((chosen[0].content, rejected[0].content))
        case UnpairedPreference(prompt=prompt, completion=completion, label=label):
            return prompt[-1].content, _Judgement((completion[0].content,), label)
    return None


def _agreement(one: _Judgement, other: _Judgement) -> float | None:
    """Returns whether two ratings agree, from 0 to 1; None if they say nothing about each other.

    Comparisons agree if the good answers are alike and the bad ones are, and disagree in the opposite order. Labels are
    compared for like answers. Demonstrations agree as far as their words do.
    """
    if len(one.answers) == 2:
        (good, bad), (other_good, other_bad) = one.answers, other.answers
        same = _alike(good, other_good) + _alike(bad, other_bad)
        opposite = _alike(good, other_bad) + _alike(bad, other_good)
        return None if abs(same - opposite) <= UNDECIDED else float(same > opposite)
    alike = _alike(one.answers[0], other.answers[0])
    if one.label is None:
        return alike
    return float(one.label == other.label) if alike >= SAME_ANSWER else None


def _alike(one: str, other: str) -> float:
    """Returns the share of words of two answers that both have."""
    mine, theirs = _words(one), _words(other)
    return len(mine & theirs) / len(mine | theirs) if mine or theirs else 1.0


def _words(text: str) -> set[str]:
    return set(words_of(text[:MAX_CHARACTERS]))
