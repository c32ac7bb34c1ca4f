"""The words of a sentence as attribution needs them: stems, numbers, names and negation. English."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from serving.retrieval.text import vocabulary

_WORD = re.compile(r"\d+(?:[.,:]\d+)*%?|[^\W\d_]+(?:['’][^\W\d_]+)?(?:[-_./:]?[^\W_]+)*_*|%")
_CLAUSE_END = re.compile(
    r"[,;:()]|[.!?](?=\s)|\b(?:but|and|or|which|while|whereas|although|though|because|unless)\b", re.IGNORECASE
)
_MARKUP = re.compile(r"[`*]")

_STOP = frozenset(vocabulary.STOP_WORDS.split())
_NEGATORS = frozenset(vocabulary.NEGATORS.split())
_NUMERALS = {word: str(value) for value, word in enumerate(vocabulary.NUMERALS.split())}


@dataclass(frozen=True, slots=True)
class Word:
    """One word. `name` marks words that must not be substituted: proper names and technical identifiers."""

    text: str
    stem: str
    content: bool
    number: bool
    name: bool
    negator: bool
    negated: bool
    clause: int


@dataclass(frozen=True)
class SentenceWords:
    """The words of a sentence, in order; derived values are computed once."""

    all: tuple[Word, ...]

    @cached_property
    def content(self) -> frozenset[str]:
        return frozenset(w.stem for w in self.all if w.content)

    @cached_property
    def numbers(self) -> frozenset[str]:
        return frozenset(w.stem for w in self.all if w.number)

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(w.stem for w in self.all if w.name)

    @cached_property
    def stems(self) -> frozenset[str]:
        return frozenset(w.stem for w in self.all)

    @cached_property
    def negated(self) -> frozenset[str]:
        return frozenset(w.stem for w in self.all if w.content and w.negated)

    def negators(self, clauses: set[int] | None) -> int:
        """Returns the number of negating words in the clauses with these numbers, or in all."""
        return sum(w.negator for w in self.all if clauses is None or w.clause in clauses)

    @cached_property
    def sequence(self) -> list[str]:
        """Stems of the content words, in order."""
        return [w.stem for w in self.all if w.content]

    @cached_property
    def clauses(self) -> list[list[Word]]:
        """Content words by clause; a clause of one word (an item of a list) is merged into the next."""
        clauses: list[list[Word]] = []
        for word in self.all:
            if not word.content:
                continue
            if clauses and (clauses[-1][-1].clause == word.clause or len(clauses[-1]) == 1):
                clauses[-1].append(word)
            else:
                clauses.append([word])
        if len(clauses) > 1 and len(clauses[-1]) == 1:
            last = clauses.pop()
            clauses[-1] += last
        return clauses


def read(text: str) -> SentenceWords:
    """Analyses a sentence. A negation extends to the end of its clause."""
    plain = _MARKUP.sub(" ", text)
    words: list[Word] = []
    reach, clause, clause_end = -1, 0, 0
    for match in _WORD.finditer(plain):
        raw = match.group()
        lower = raw.lower().replace("’", "'")
        if _CLAUSE_END.search(plain, clause_end, match.end()):
            clause += 1
        clause_end = match.end()
        negator = lower in _NEGATORS or lower.endswith("n't") or lower.startswith("n'")  # don't, n'est
        if negator and match.end() > reach:  # within its scope, the next end of a clause is known
            found = _CLAUSE_END.search(plain, match.end())
            reach = found.start() if found else len(plain)
        number = raw[0].isdigit() or lower in _NUMERALS
        stop = lower in _STOP and lower not in _NUMERALS
        content = not stop and not negator and len(lower) > 1
        words.append(
            Word(
                text=raw,
                stem=_number(lower) if number else _SYNONYMS.get(stem(lower), stem(lower)),
                content=content or number,
                number=number,
                name=content and not number and _is_name(raw, not words),
                negator=negator,
                negated=match.start() < reach,
                clause=clause,
            )
        )
    return SentenceWords(tuple(words))


def stem(word: str) -> str:
    """A light stemmer: plural, -ed, -ing, -ly. Only consistency between both sides matters."""
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
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word


def opposed(claim: SentenceWords, source: SentenceWords) -> bool:
    """Returns whether the claim has the opposite of a word of the source, and the source lacks the claim's word."""
    mine, theirs = claim.stems, source.stems
    for pair in _OPPOSITES:
        for word in pair & mine - theirs:
            if (pair - {word}) & theirs - mine:
                return True
    return _prefixed(mine - theirs, theirs) or _prefixed(theirs - mine, mine)


def _prefixed(words: frozenset[str], others: frozenset[str]) -> bool:
    """Returns whether one of the words is another one with a negative prefix ("unsupported")."""
    rests = {
        word.removeprefix(negative)
        for word in words
        for negative in vocabulary.NEGATIVE_PREFIXES
        if word.startswith(negative)
    }
    return any(len(rest) >= 3 and rest in others for rest in rests)


def _number(word: str) -> str:
    """Normalises a number: `1,000` and `1000` are equal, as are `two` and `2`, and `5%` and `5`."""
    word = _NUMERALS.get(word, word).removesuffix("%")
    if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", word):
        word = word.replace(",", "")
    return word.rstrip("0").rstrip(".") if re.fullmatch(r"\d+\.\d+", word) else word


def _is_name(raw: str, first: bool) -> bool:
    """Returns whether a word is a proper name (capitals) or an identifier (characters that plain words lack)."""
    if any(c.isdigit() or c in "_./:" for c in raw) or any(c.isupper() for c in raw[1:]):
        return True
    return raw[0].isupper() and not first


_SYNONYMS = {
    stem(word): stem(group.split("/")[0]) for group in vocabulary.SYNONYMS.split() for word in group.split("/")
}
_OPPOSITES = [
    frozenset(_SYNONYMS.get(stem(word), stem(word)) for word in pair.split("/"))
    for pair in vocabulary.OPPOSITES.split()
]
