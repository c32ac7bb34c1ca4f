"""Finds prompt injections (text that tries to give a model other instructions), by heuristics on several readings of a
text.

Heuristics recognise common phrasings. Readings undo obfuscation: invisible and look-alike characters, accents, digits
for letters, spaced letters, one level of base64, hexadecimal, percent-encoding or rot13, and reversed text.
"""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from serving.guardrails.rules import canonical
from serving.guardrails.rules.canonical import Canonical
from serving.guardrails.rules.finding import Finding
from serving.guardrails.rules.injection_forms import ENGLISH, OTHERS, STEMS
from serving.guardrails.rules.scan import scan

_FORMS = [
    (kind, re.compile(form), [stem.replace("\xa0", " ") for stem in STEMS[kind].split(" ")])
    for kind, form in ENGLISH.items()
]
_READ = [*_FORMS, ("override", re.compile(OTHERS), STEMS["abroad"].split())]
_CORE = [entry for entry in _FORMS if entry[0] in ("override", "reveal", "exfiltration")]
BEFORE, AFTER = 160, 480
"""Number of characters around a stem in which a form is searched."""

_SQUEEZED = re.compile(
    r"(?:ignore|disregard|forget|override|bypass)(?:all|any|the|your|my|of|every|and){0,3}(?:previous|prior|above"
    r"|earlier|system)?"
    r"(?:system)?(?:instruction|prompt|rule|guideline|directive)|(?:reveal|show|print|repeat|leak|giveme"
    r"|tellme)(?:me|us)?"
    r"(?:your|the)?(?:system|hidden|secret|initial)(?:prompt|instruction|message)"
)
_APART = re.compile(r"(?<!\w)\w(?:[ ._*|/+~,-]{1,3}\w(?!\w)){9,400}")
_CUT = re.compile(r"[^\W\d_]{1,12}(?:[._*|/+~-][^\W\d_]{1,12}){3,60}")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{24,100000}={0,2}")
_HEXADECIMAL = re.compile(r"(?<![0-9A-Za-z])(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[ :,]?){16,20000}(?![0-9A-Za-z])")
_PERCENT = re.compile(r"(?:[\w.+-]{0,30}%[0-9A-Fa-f]{2}){3,2000}[\w.+-]{0,200}")
_LEET = str.maketrans("013457@$!|", "oieastasil")
_LEET_WORD = re.compile(r"(?=[^\s]{0,30}[a-z])(?=[^\s]{0,30}[013457@$!|])[a-z013457@$!|]{3,30}")

_HIDDEN = re.compile(
    # Flags of regions contain tags, which are not examined again.
    "(?P<flag>\U0001f3f4[\U000e0020-\U000e007f]{1,32})"
    "|[\U000e0020-\U000e007e]{3,}|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}"
    "|[\u200b-\u200d\u2060-\u2064\u180e\ufeff]{8,}"
    "|[\u202d\u202e]"
)

_TALK = re.compile(
    r"\b(?:prompt[ -]?injections?|jailbreaks?|attack(?:s|er|ers)?|adversar\w{1,8}|malicious|payloads?"
    r"|exploit\w{0,3}|phras\w{1,3}"
    r"|e\.g\.|for (?:example|instance)|such as|example|owasp|red[ -]team\w{0,4}|guardrails?|detect\w{0,4}"
    r"|classifier|heuristics?"
    r"|says?|saying|texts?|strings?|contain\w{0,3}|words?|sentences?|called|titled|named|wrote|asks?|like)\b"
)
_QUOTES = {"'": "'", '"': '"', "`": "`", "“": "”", "‘": "’", "«": "»", "„": "“"}
TALK = 160
"""Number of characters before a quotation that may introduce it."""

QUOTED = 200
"""Maximum length of a quotation."""


class Injection:
    """Attempts to override or reveal instructions, to leave a role, to exfiltrate data, and to hide this."""

    def find(self, text: str, start: int = 0) -> list[Finding]:
        """Returns findings that begin at or after `start`."""
        found = set(_hidden(text))
        seen, looks = canonical.visible(text), canonical.skeleton(text)
        lower = Canonical(seen.text.lower(), seen.origins) if len(seen.text) == len(seen.text.lower()) else seen
        for reading in {reading.text: reading for reading in (lower, looks, _unleet(looks))}.values():
            found |= set(_phrases(reading))
        found |= set(_squeezed(looks))
        found |= set(_encoded(seen))
        for kind, turned in (("rot13", codecs.encode(looks.text, "rot13")), ("reversed", looks.text[::-1])):
            for _, form, stems in _CORE:
                for first, last in _spans(form, stems, turned):
                    if kind == "reversed":
                        first, last = len(turned) - last, len(turned) - first
                    found.add(Finding(*looks.span(first, last), kind))
        return [finding for finding in sorted(found) if finding.start >= start]


def _hidden(text: str) -> Iterator[Finding]:
    if text.isascii():
        return
    for match in scan(_HIDDEN, text):
        if match["flag"] is None:
            yield Finding(*match.span(), "hidden_text")


def _phrases(reading: Canonical) -> Iterator[Finding]:
    for kind, form, stems in _READ:
        for span in _spans(form, stems, reading.text):
            if not _quoted(reading.text, *span):
                yield Finding(*reading.span(*span), kind)


def _spans(form: re.Pattern[str], stems: Sequence[str], text: str) -> Iterator[tuple[int, int]]:
    """Yields matches of `form`, searched around the `stems`."""
    places = []
    for stem in stems:
        at = text.find(stem)
        while at >= 0:
            places.append(at)
            at = text.find(stem, at + BEFORE)  # stems in between are in its surroundings
    done = 0
    for at in sorted(places):
        first, last = max(at - BEFORE, done), min(at + AFTER, len(text))
        while first < last and (match := form.search(text, first, last)):
            yield match.span()
            first = match.end()
        done = max(done, first, last - BEFORE)


def _quoted(text: str, start: int, end: int) -> bool:
    """Returns whether `text[start:end]` is in a short quotation that is mentioned rather than used."""
    before = text[max(start - QUOTED, 0) : start]
    for opens, closes in _QUOTES.items():
        at = before.rfind(opens)
        if at < 0 or (opens == closes and opens == "'" and before[at - 1 : at].isalnum()):
            continue
        if opens == closes and before.count(opens) % 2 == 0 and len(before) < QUOTED:
            continue
        opening = start - len(before) + at
        closing = text.find(closes, end, opening + QUOTED)
        if closing >= 0 and "\n" not in text[opening:closing]:
            return _TALK.search(text, max(opening - TALK, 0), opening) is not None
    return False


def _unleet(reading: Canonical) -> Canonical:
    """Returns the reading with letters for digits and signs inside of words."""
    parts: list[str] = []
    at = 0
    for match in scan(_LEET_WORD, reading.text):
        parts += [reading.text[at : match.start()], match[0].translate(_LEET)]
        at = match.end()
    return Canonical("".join([*parts, reading.text[at:]]), reading.origins)


def _squeezed(reading: Canonical) -> Iterator[Finding]:
    """Yields readings of text that is spelled letter by letter, or has signs between its words or syllables."""
    for apart in (_APART, _CUT):
        for match in scan(apart, reading.text):
            letters = "".join(c for c in match[0] if c.isalnum())
            if _SQUEEZED.search(letters) or _SQUEEZED.search(letters.translate(_LEET)):
                yield Finding(*reading.span(*match.span()), "spelled")


def _encoded(seen: Canonical) -> Iterator[Finding]:
    for kind, form, decode in (
        ("base64", _BASE64, _from_base64),
        ("hexadecimal", _HEXADECIMAL, _from_hexadecimal),
        ("percent", _PERCENT, unquote),
    ):
        for match in scan(form, seen.text):
            said = canonical.skeleton(decode(match[0])).text
            if said and any(next(_spans(form, stems, said), None) for _, form, stems in _FORMS):
                yield Finding(*seen.span(*match.span()), kind)


def _from_base64(text: str) -> str:
    text = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    text = text[: len(text) - (len(text) % 4 == 1)]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return ""


def _from_hexadecimal(text: str) -> str:
    try:
        return bytes.fromhex(re.sub(r"0x|\\x|[ :,]", "", text)).decode()
    except ValueError:
        return ""
