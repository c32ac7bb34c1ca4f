"""The words of a sentence as far as support needs them: stems, numbers, names and negation. English."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORD = re.compile(r"\d+(?:[.,:]\d+)*%?|[^\W\d_]+(?:['’][^\W\d_]+)?(?:[-_./:]?[^\W_]+)*|%")
_CLAUSE_END = re.compile(r"[,;:()]|\b(?:but|and|or|which|while|whereas|although|though|because|unless)\b", re.I)
_MARKUP = re.compile(r"[`*_]")

_STOP = frozenset(
    """a about above after again all also am an and any are as at be because been before being below between both but
    by can could did do does doing down during each either else ever for from further get gets had has have having he
    her here hers him his how however i if in into is it its itself just like may me might more most much must my of
    off on once one only or other our out over own per same shall she should so some such than that the their them
    then there these they this those through thus to too under until up upon us use used uses using very via was we
    were what when where whether which while who whom why will with would you your yes says say said according
    please""".split()  # noqa: SIM905
)
_NEGATORS = frozenset("no not never none nothing neither nor cannot without nobody nowhere hardly".split())  # noqa: SIM905
_NUMERALS = {
    word: str(value)
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
    )
}
_OPPOSITES = [
    frozenset(pair.split("/"))
    for pair in (
        "enable/disable allow/deny allow/forbid allow/refuse accept/reject accept/refuse increase/decrease "
        "rise/fall grow/shrink maximum/minimum max/min most/least more/less higher/lower faster/slower "
        "before/after above/below always/never true/false on/off open/closed start/stop begin/end first/last "
        "include/exclude required/optional public/private success/failure pass/fail add/remove upper/lower "
        "large/small larger/smaller long/short longer/shorter early/late earlier/later all/none inside/outside "
        "with/without encrypt/decrypt hot/cold internal/external read/write import/export synchronous/asynchronous "
        "subsonic/supersonic laminar/turbulent over/under"
    ).split()
]
_PREFIXES = ("un", "non", "dis", "in", "im", "mis", "non-")


@dataclass(frozen=True, slots=True)
class Word:
    """One word. `name` marks what must not be swapped: proper names and technical identifiers."""

    text: str
    stem: str
    content: bool
    number: bool
    name: bool
    negated: bool


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a sentence, in order."""

    all: tuple[Word, ...]

    @property
    def content(self) -> frozenset[str]:
        return frozenset(w.stem for w in self.all if w.content)

    @property
    def numbers(self) -> frozenset[str]:
        return frozenset(w.stem for w in self.all if w.number)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(w.stem for w in self.all if w.name)

    @property
    def stems(self) -> frozenset[str]:
        return frozenset(w.stem for w in self.all)

    def negated(self, stem: str) -> bool:
        """Whether a word stands under a negation wherever it occurs."""
        return all(w.negated for w in self.all if w.stem == stem)


def read(text: str) -> Words:
    """Reads a sentence. A negation reaches to the end of its clause."""
    plain = _MARKUP.sub(" ", text)
    words: list[Word] = []
    reach, last = -1, 0
    for match in _WORD.finditer(plain):
        raw = match.group()
        lower = raw.lower().replace("’", "'")
        if lower in _NEGATORS or lower.endswith("n't"):
            found = _CLAUSE_END.search(plain, match.end())
            reach = found.start() if found else len(plain)
        number = raw[0].isdigit() or lower in _NUMERALS
        stop = lower in _STOP and lower not in _NUMERALS
        content = not stop and lower not in _NEGATORS and not lower.endswith("n't") and len(lower) > 1
        words.append(
            Word(
                text=raw,
                stem=_number(lower) if number else stem(lower),
                content=content or number,
                number=number,
                name=content and not number and _is_name(raw, not words),
                negated=match.start() < reach,
            )
        )
    return Words(tuple(words))


def stem(word: str) -> str:
    """A light stemmer: plural, -ed, -ing, -ly. It need only treat both sides alike."""
    word = word.removesuffix("'s")
    if len(word) <= 3 or not word.isalpha():
        return word
    for ending, replacement in (
        ("ies", "y"),
        ("sses", "ss"),
        ("ingly", ""),
        ("edly", ""),
        ("ations", "at"),
        ("ation", "at"),
        ("ing", ""),
        ("ed", ""),
        ("es", ""),
        ("ly", ""),
        ("s", ""),
        ("e", ""),
    ):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not (ending == "s" and word[-2] == "s"):
            word = word[: len(word) - len(ending)] + replacement
            break
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "lsz":
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word


def opposed(claim: Words, source: Words) -> bool:
    """Whether the claim says the opposite of a word of the source, where the source lacks the claim's word."""
    mine, theirs = claim.stems, source.stems
    for pair in _STEMMED_OPPOSITES:
        for word in pair & mine:
            other = next(iter(pair - {word}))
            if other in theirs and word not in theirs and other not in mine:
                return True
    for only, other in ((mine - theirs, theirs), (theirs - mine, mine)):
        for word in only:
            for negative in _PREFIXES:
                rest = word.removeprefix(negative)
                if len(rest) >= 3 and rest != word and rest in other and word not in other:
                    return True
    return False


def _number(word: str) -> str:
    """`1,000` and `1000` are one number, as are `two` and `2`, and `5%` and `5`."""
    word = _NUMERALS.get(word, word).removesuffix("%")
    if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", word):
        word = word.replace(",", "")
    return word.rstrip("0").rstrip(".") if re.fullmatch(r"\d+\.\d+", word) else word


def _is_name(raw: str, first: bool) -> bool:
    """Proper names by their capitals, identifiers by what no plain word holds."""
    if any(c.isdigit() or c in "_./:" for c in raw) or any(c.isupper() for c in raw[1:]):
        return True
    return raw[0].isupper() and not first


_STEMMED_OPPOSITES = [frozenset(stem(word) for word in pair) for pair in _OPPOSITES]
