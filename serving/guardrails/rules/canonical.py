"""Canonical forms of texts, as a reader sees them: without invisible characters, compatibility forms and look-alike
letters.

Sources: Unicode Standard Annex 15 (NFKC); Unicode Technical Standard 39, `confusables.txt`, of which `CONFUSABLES` has
letters of living scripts that look like one Latin letter; Unicode Standard 23.9 (tag characters).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

_TAGS = range(0xE0000, 0xE0080)
_SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")  # blank, but letters or marks in Unicode

CONFUSABLES = {
    like: latin
    for latin, many in {
        "a": "аɑα",
        "b": "ЬƄ",
        "c": "сϲⅽᴄ",
        "d": "ԁⅾ",
        "e": "еҽ℮ε",
        "f": "ſϝք",
        "g": "ɡցƍ",
        "h": "һհ",
        "i": "іıɩιӏɪ",
        "j": "јϳ",
        "k": "кκᴋ",
        "l": "ⅼןǀ׀ӀⲒ",
        "m": "ⅿмᴍ",
        "n": "ոռπп",
        "o": "оοօσᴏഠ०໐",
        "p": "рρϱ",
        "q": "ԛգ",
        "r": "гᴦꭇ",
        "s": "ѕƽꜱ",
        "t": "тτᴛ",
        "u": "υսʋᴜ",
        "v": "ѵνᴠⅴ",
        "w": "ԝѡաᴡɯ",
        "x": "хⅹ×χ",
        "y": "уүʏγ",
        "z": "ᴢʐ",
        "A": "АΑᎪ",
        "B": "ВΒᏴ",
        "C": "СϹᏟ",
        "D": "Ꭰ",
        "E": "ЕΕᎬ",
        "F": "Ϝ",
        "G": "Ꮐ",
        "H": "НΗᎻ",
        "I": "ІΙ",
        "J": "ЈᎫ",
        "K": "КΚᏦ",
        "L": "Ꮮ",
        "M": "МΜᎷ",
        "N": "Ν",
        "O": "ОΟՕ",
        "P": "РΡᏢ",
        "R": "ᎡᏒ",
        "S": "ЅՏᏚ",
        "T": "ТΤᎢ",
        "U": "Ս",
        "V": "ᏙѴ",
        "W": "ᎳԜ",
        "X": "ХΧ",
        "Y": "УΥҮ",
        "Z": "ΖᏃ",
    }.items()
    for like in many
}


@dataclass(frozen=True, slots=True)
class Canonical:
    """A canonical `text`, with the original offset of each character; None if all offsets are unchanged."""

    text: str
    origins: Sequence[int] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Returns the original span of `text[start:end]`, which is not empty."""
        if self.origins is None:
            return start, end
        return self.origins[start], self.origins[end - 1] + 1

    def index(self, original: int) -> int:
        """Returns the first index in `text` of a character at or after the offset `original`."""
        if self.origins is None:
            return original
        low, high = 0, len(self.origins)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.origins[middle] < original else (low, middle)
        return low


def visible(text: str) -> Canonical:
    """Returns `text` without invisible characters and in compatibility form (NFKC), character by character.

    Tag characters, which are invisible, are replaced by the ASCII characters that they represent.
    """
    return _mapped(text, _visible)


def skeleton(text: str) -> Canonical:
    """Returns the lower-case letters that `text` looks like: `visible`, without accents, and with
    look-alikes as Latin.
    """
    return _mapped(text, _looks)


def _mapped(text: str, one: Callable[[str], str]) -> Canonical:
    if text.isascii():
        return Canonical(text if one is _visible else text.lower())
    out: list[str] = []
    origins: list[int] = []
    for i, char in enumerate(text):
        seen = one(char)
        out.append(seen)
        origins += [i] * len(seen)
    return Canonical("".join(out), origins)


@lru_cache(maxsize=16_384)
def _visible(char: str) -> str:
    code = ord(char)
    if code in _TAGS:
        return chr(code - _TAGS.start) if 0x20 <= code - _TAGS.start < 0x7F else ""
    if char in _FILLERS or any(code in selectors for selectors in _SELECTORS):
        return ""
    if unicodedata.category(char) in ("Cf", "Cc") and char not in "\t\n\r":
        return ""
    if char.isspace() and char not in "\t\n\r":
        return " "
    return "".join(c for c in unicodedata.normalize("NFKC", char) if c not in _FILLERS)


@lru_cache(maxsize=16_384)
def _looks(char: str) -> str:
    bare = "".join(c for c in unicodedata.normalize("NFKD", _visible(char)) if not unicodedata.combining(c))
    lower = "".join(CONFUSABLES.get(c, c) for c in bare).lower()
    return "".join(CONFUSABLES.get(c, c) for c in lower if not unicodedata.combining(c))
