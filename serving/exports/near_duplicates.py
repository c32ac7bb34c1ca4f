"""Detects rows that say almost the same as an earlier one, by the shared runs of words.

Candidates are found by MinHash with bands (Broder, 1997), and then compared exactly.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

import numpy as np
from numpy.typing import NDArray

from serving.exports.scratch import Scratch

WORDS = 3
"""Number of words in a run."""

BANDS, PER_BAND = 16, 4
"""Texts that share half of their runs have a common band with a probability of 64 %, those that share 90 % always."""

_CANDIDATES = f"SELECT runs FROM texts WHERE id IN (SELECT text FROM bands WHERE band IN ({', '.join('?' * BANDS)}))"  # noqa: S608

_PRIME = np.uint64((1 << 31) - 1)
_FACTORS, _ADDENDS = np.random.default_rng(1).integers(
    1, int(_PRIME), (2, BANDS * PER_BAND), dtype=np.uint64
)  # the same in each run
_WORD = re.compile(r"\w+")

Runs = NDArray[np.uint64]


def words_of(text: str) -> list[str]:
    """Returns a text's words, without case and punctuation."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def runs(text: str) -> Runs:
    """Returns the hashes of a text's runs of words, without case and punctuation, in ascending order."""
    words = words_of(text)
    found = {" ".join(words[i : i + WORDS]) for i in range(max(1, len(words) - WORDS + 1))}
    hashes = [int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest(), "little") for run in found]
    return np.sort(np.array(hashes, np.uint64))


def likeness(one: Runs, other: Runs) -> float:
    """Returns the share of runs of two texts that both have (Jaccard's index)."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)


class NearDuplicates(Scratch):
    """Texts that were seen. Raises `StoreUnavailable` when the folder for temporary files is full."""

    TABLES = (
        "CREATE TABLE texts (id INTEGER PRIMARY KEY, runs BLOB)",
        "CREATE TABLE bands (band BLOB, text INTEGER, PRIMARY KEY (band, text)) WITHOUT ROWID",
    )
    CONTENT = "texts of rows"

    def __init__(self, threshold: float) -> None:
        """Texts whose `likeness` is at least `threshold` count as the same."""
        self._threshold = threshold

    def add(self, text: str) -> bool:
        """Adds a text and returns whether it is new; one that is like an earlier text is not added."""
        these = runs(text)
        bands = bands_of(these)
        with self._writing():
            like = self._connection.execute(_CANDIDATES, bands)
            if any(likeness(these, np.frombuffer(kept, np.uint64)) >= self._threshold for (kept,) in like):
                return False
            number = self._connection.execute("INSERT INTO texts (runs) VALUES (?)", (these.tobytes(),)).lastrowid
            rows = [(band, number) for band in bands]
            self._connection.executemany("INSERT INTO bands VALUES (?, ?)", rows)
        return True


def bands_of(these: Runs) -> list[bytes]:
    """Returns the bands of a text's MinHash, each with its number."""
    hashed = (_FACTORS[:, None] * (these % _PRIME)[None, :] + _ADDENDS[:, None]) % _PRIME
    least = hashed.min(axis=1).astype(np.uint32).reshape(BANDS, PER_BAND)
    return [bytes([number]) + band.tobytes() for number, band in enumerate(least)]
