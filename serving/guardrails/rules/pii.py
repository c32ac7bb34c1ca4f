"""Finds personal data with a fixed form or a checksum, which names and postal addresses lack.

Sources of checksums: ISO/IEC 7812-1 (Luhn), ISO 13616 and ISO 7064 (IBAN, mod 97-10); the German tax number by ISO 7064
(mod 11, 10), the Spanish DNI by its letter (mod 23), the French NIR by mod 97, the Italian codice fiscale by its table,
the Dutch BSN by the 11-proof, the British NHS number and the Brazilian CPF by mod 11; a US social security number has
none, so it counts only with hyphens and outside of the ranges that are never issued.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence

from serving.config import PersonalData
from serving.core.patterns import EMAILS
from serving.guardrails.rules import canonical
from serving.guardrails.rules.finding import Finding
from serving.guardrails.rules.scan import search

_IBAN_LENGTHS = {
    **dict.fromkeys(("NO",), 15),
    **dict.fromkeys(("BE",), 16),
    **dict.fromkeys(("DK", "FI", "FO", "GL", "NL"), 18),
    **dict.fromkeys(("MK", "SI"), 19),
    **dict.fromkeys(("AT", "BA", "EE", "KZ", "LT", "LU", "XK"), 20),
    **dict.fromkeys(("CH", "CR", "HR", "LI", "LV"), 21),
    **dict.fromkeys(("BG", "BH", "DE", "GB", "GE", "IE", "ME", "RS", "VA"), 22),
    **dict.fromkeys(("AE", "GI", "IL", "IQ", "OM", "SO", "TL"), 23),
    **dict.fromkeys(("AD", "CZ", "DZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG"), 24),
    **dict.fromkeys(("PT", "ST"), 25),
    **dict.fromkeys(("IS", "TR"), 26),
    **dict.fromkeys(("FR", "GR", "IT", "MC", "MR", "SM"), 27),
    **dict.fromkeys(("AL", "AZ", "CY", "DO", "GT", "HU", "LB", "NI", "PL", "SV"), 28),
    **dict.fromkeys(("BR", "EG", "PS", "QA", "UA"), 29),
    **dict.fromkeys(("JO", "KW", "MU", "YE"), 30),
    **dict.fromkeys(("MT", "SC"), 31),
    "LC": 32,
    "RU": 33,
}
"""Length of each country's IBAN (SWIFT's IBAN registry)."""

_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"
_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


class PersonalInformation:
    """The given `kinds` of personal data."""

    def __init__(self, kinds: Sequence[PersonalData]) -> None:
        self._forms = [form for form in _FORMS if form[0] in kinds]

    def find(self, text: str, start: int = 0) -> list[Finding]:
        """Returns findings that begin at or after `start`."""
        seen = canonical.visible(text)
        found = []
        for kind, form, holds in self._forms:
            at = seen.index(start)
            while match := search(form, seen.text, at):
                end = holds(match[0])
                if end:
                    found.append(Finding(*seen.span(match.start(), match.start() + end), kind))
                # A match with a wrong checksum may begin with characters that do not belong to it.
                at = match.start() + (end or 1)
        return found


def _digits(text: str) -> list[int]:
    return [int(c) for c in text if c in "0123456789"]


def luhn(digits: Sequence[int]) -> bool:
    """Returns whether the last digit is the check digit of ISO/IEC 7812-1."""
    doubled = [d if i % 2 == 0 else sum(divmod(2 * d, 10)) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _card(text: str) -> int:
    """Returns the length of the card number at the beginning of `text`: other numbers can follow it after a space."""
    for end in range(len(text), 12, -1):
        digits = _digits(text[:end])
        whole = not text[end : end + 1].isdigit() and text[end - 1].isdigit()
        if whole and 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn(digits):
            return end
    return 0


def _iban(text: str) -> int:
    """Returns the length of the IBAN at the beginning of `text`: words can follow it after a space."""
    wanted = _IBAN_LENGTHS.get(text[:2].upper(), 0)
    end = count = 0
    for i, char in enumerate(text, 1):
        count += char not in " -"
        if count == wanted:
            end = i
            break
    compact = re.sub(r"[ -]", "", text[:end]).upper()
    follows = text[end : end + 1]
    if not compact or follows.isalnum():
        return 0
    return end if int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1 else 0


def _phone(text: str) -> int:
    return len(text) if 8 <= len(_digits(text)) <= 15 else 0


def _address(text: str) -> int:
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return 0
    return len(text) if ip.is_global else 0  # addresses of private networks and documentation are nobody's


def _ssn(text: str) -> int:
    area, group, serial = text.split("-")
    given = area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"
    return len(text) if given else 0


def _dni(text: str) -> int:
    number = text[:-1].rstrip("-").upper().translate(str.maketrans("XYZ", "012"))
    return len(text) if _DNI[int(number) % 23] == text[-1].upper() else 0


def _nir(text: str) -> int:
    compact = text.replace(" ", "").replace("2A", "19").replace("2B", "18")
    return len(text) if 97 - int(compact[:13]) % 97 == int(compact[13:]) else 0


def _codice(text: str) -> int:
    value = 0
    for i, char in enumerate(text[:15]):
        place = int(char, 36) - (10 if char.isalpha() else 0)
        value += _ODD[place] if i % 2 == 0 else place
    return len(text) if chr(65 + value % 26) == text[15] else 0


def _cpf(text: str) -> int:
    digits = _digits(text)
    for n in (9, 10):
        if sum(d * (n + 1 - i) for i, d in enumerate(digits[:n])) * 10 % 11 % 10 != digits[n]:
            return 0
    return len(text) if len(set(digits)) > 1 else 0


def _named(length: int, check: Callable[[list[int]], bool]) -> Callable[[str], int]:
    """A number that counts only after its name: one in eleven has a valid checksum by chance."""

    def holds(text: str) -> int:
        digits = _digits(text)[-length:]
        return len(text) if len(digits) == length and check(digits) else 0

    return holds


def _bsn(digits: list[int]) -> bool:
    return any(digits) and (sum(d * (9 - i) for i, d in enumerate(digits[:8])) - digits[8]) % 11 == 0


def _nhs(digits: list[int]) -> bool:
    return (11 - sum(d * (10 - i) for i, d in enumerate(digits[:9])) % 11) % 11 == digits[9]


def _tax_id(digits: list[int]) -> bool:
    product = 10
    for digit in digits[:10]:
        product = 2 * ((digit + product) % 10 or 10) % 11
    return digits[0] != 0 and (11 - product) % 10 == digits[10]


_HEX = r"[0-9A-Fa-f]{1,4}"
_FORMS: list[tuple[PersonalData, re.Pattern[str], Callable[[str], int]]] = [
    ("email", re.compile(EMAILS["address"]), len),
    ("iban", re.compile(r"(?<!\w)[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){10,30}"), _iban),
    ("card", re.compile(r"(?<![\w.-])[2-6]\d{3}(?:[ -]?\d){9,15}(?![\w-])"), _card),
    (
        "phone",
        re.compile(
            r"(?<![\w.+])(?:(?:\+|00)[1-9](?:[ ./()-]{0,2}\d){7,14}|\(\d{2,5}\)[ -]?\d{3,4}[ -]\d{3,5}"
            r"|[2-9]\d{2}[-.][2-9]\d{2}[-.]\d{4}|0\d{2,4}[ /-]\d{3,4}[ -]?\d{3,4})(?![\w-])"
        ),
        _phone,
    ),
    ("ip", re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]?\w)"), _address),
    ("ip", re.compile(rf"(?<![\w:])(?:{_HEX}:){{1,7}}(?::|{_HEX})(?:[0-9A-Fa-f:]{{0,36}})(?![\w:])"), _address),
    ("national_id", re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"), _ssn),
    ("national_id", re.compile(r"(?<!\w)(?:\d{8}|[XYZxyz]-?\d{7})-?[A-Za-z](?!\w)"), _dni),
    ("national_id", re.compile(r"(?<!\w)[12] ?\d{2} ?[01]\d ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}(?!\w)"), _nir),
    ("national_id", re.compile(r"(?<!\w)[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z](?!\w)"), _codice),
    ("national_id", re.compile(r"(?<![\w.-])\d{3}\.\d{3}\.\d{3}-\d{2}(?!\w)"), _cpf),
    ("national_id", re.compile(r"(?i)\b(?:bsn|burgerservicenummer)\W{0,3}(?:\d[. ]?){9}(?!\d)"), _named(9, _bsn)),
    ("national_id", re.compile(r"(?i)\bnhs(?: (?:no|number))?\W{0,3}(?:\d[ -]?){10}(?!\d)"), _named(10, _nhs)),
    (
        "national_id",
        re.compile(r"(?i)\b(?:steuer-?id(?:entifikationsnummer|nr)?|idnr|tax id)\W{0,3}(?:\d ?){11}(?!\d)"),
        _named(11, _tax_id),
    ),
]
