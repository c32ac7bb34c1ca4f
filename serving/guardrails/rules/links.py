"""Finds links and images to hosts that are not allowed, or with data in their address.

A page that shows an answer loads its images automatically: a manipulated model can exfiltrate what it read in such an
address. Therefore everything that is not a plain address of an allowed host is found. Browsers treat a backslash as a
slash, and ignore tabs and line ends (WHATWG URL Standard).
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from serving.guardrails.rules import canonical
from serving.guardrails.rules.finding import Finding
from serving.guardrails.rules.scan import scan
from serving.guardrails.rules.secrets import entropy

_END = r"[^\s<>\"'`]"
_FORMS = [
    re.compile(r"(?i)(?<![a-z0-9])(?:https?|ftp|wss?|blob|file)\s?:[\\/]{0,3}" + _END + "{1,8192}"),
    re.compile(r"(?i)(?<![\w.-])(?:(?:javascript|vbscript)\s?:|data\s?:[\w.+/-]{0,80}[;,])" + _END + "{1,65536}"),
    re.compile(r"(?i)(?<![\w@.-])www\d?\.[\w-]" + _END + "{1,8192}"),
    re.compile(r"\]\(\s{0,8}<?(?P<inline>[^\s<>)]{1,8192})"),
    re.compile(r"(?m)^ {0,3}\[[^\]\n]{1,100}\]:\s{0,8}<?(?P<definition>[^\s<>]{1,8192})"),
]
_TAG = re.compile(
    r"(?i)<\s{0,4}/?(?:a|img|image|iframe|frame|embed|object|video|audio|source|track|link|script|style|svg|use|form"
    r"|input|button|base|meta|body|table|td|div|span|p)\b[^<>]{0,4096}>?"
)
_ATTRIBUTE = re.compile(
    r"(?i)(?:src|href|srcset|data|action|formaction|poster|background|style|content|code|lowsrc|ping|xlink:href)"
    r"\s{0,4}=\s{0,4}(\"[^\"]{0,4096}\"?|'[^']{0,4096}'?|[^\s\"'>]{1,4096})"
)
_ACTIVE = re.compile(
    r"(?i)<\s{0,4}(?:script|iframe|frame|embed|object|base|form|meta|link|style)\b|\bon[a-z]{3,20}\s{0,4}="
)
_ENCODED = re.compile(r"(?:[A-Za-z0-9_+=-]|%[0-9A-Fa-f]{2}){40,}")
_RUN = re.compile(r"[A-Za-z0-9]{20,}")  # readable text has hyphens between its words
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LONG_NUMBER = re.compile(r"&#(?=[0-9]{8})")  # of no character
_TRAILING = ".,;:!?)]}*_'\"»"
MIN_ENTROPY = 3.5
"""Entropy in bits per character from which a part of an address counts as encoded data."""


class Links:
    """Addresses whose host is neither in `allow` nor a subdomain of an entry that begins with `*.`, or that contain
    data.

    `max_data` is the maximum number of characters of query and fragment; a path may have four times as many.
    """

    def __init__(self, allow: Sequence[str], max_data: int) -> None:
        self._hosts = frozenset(host for host in allow if not host.startswith("*."))
        self._domains = tuple(host[1:] for host in allow if host.startswith("*."))
        self._max_data = max_data

    def find(self, text: str, start: int = 0) -> list[Finding]:
        """Returns findings that begin at or after `start`."""
        seen = canonical.visible(text)
        at = seen.index(start)
        found = []
        for form in _FORMS:
            for match in scan(form, seen.text, at):
                group = next(iter(match.groupdict()), None) or 0
                first, last = match.span(group)
                last = first + len(match[group].rstrip(_TRAILING))
                if last > first and (kind := self._wrong(seen.text[first:last])):
                    since, _ = seen.span(*match.span())
                    found.append(Finding(*seen.span(first, last), kind, since))
        for match in scan(_TAG, seen.text, at):
            if kind := self._wrong_tag(match[0], match.end() == len(seen.text)):
                found.append(Finding(*seen.span(*match.span()), kind))
        return found

    def _wrong_tag(self, tag: str, at_end: bool) -> str:
        tag = _unescaped(tag)
        if _ACTIVE.search(tag) or (not tag.endswith(">") and (at_end or "=" in tag)):
            return "html"  # an unterminated tag could load anything
        for attribute in _ATTRIBUTE.finditer(tag):
            value = attribute[1].strip("\"' \t\n")
            addresses = re.findall(r"(?:https?:|[\\/]{2})[^\s,)]+", value) or [value]
            for address in addresses:
                if kind := self._wrong(address):
                    return kind
        return ""

    def _wrong(self, address: str) -> str:
        """Returns why an address is not allowed; empty if it is."""
        plain = _unescaped(address).replace("\\", "/").strip()
        scheme = re.match(r"(?i)([a-z][a-z0-9+.-]*)\s?:", plain)
        if scheme is not None and scheme[1].lower() not in ("http", "https"):
            return "" if scheme[1].lower() in ("mailto", "tel") and len(plain) <= self._max_data else "link_scheme"
        if scheme is not None:
            plain = f"//{plain[scheme.end() :].lstrip('/')}"
        elif re.match(r"(?i)www\d?\.", plain):
            plain = f"//{plain}"
        try:
            parts = urlsplit(plain)
            host = (parts.hostname or "").rstrip(".")
        except ValueError:
            return "link_host"
        if "@" in parts.netloc or (plain.startswith("//") and not self._allowed(host)):
            return "link_host"
        data = max(len(parts.query) + len(parts.fragment), len(parts.path) // 4)
        if data > self._max_data or any(_is_data(piece) for piece in (parts.path, parts.query, parts.fragment)):
            return "link_data"
        return ""

    def _allowed(self, host: str) -> bool:
        return host in self._hosts or host.endswith(self._domains)


def _unescaped(text: str) -> str:
    """Returns HTML text without escapes. A number with thousands of digits stays escaped, since Python refuses to parse
    it.
    """
    return html.unescape(_LONG_NUMBER.sub("&", text))


def _is_data(piece: str) -> bool:
    pieces = (unquote(match[0]) for match in _ENCODED.finditer(piece))
    return any(_RUN.search(p) and not _HASH.fullmatch(p) and entropy(p) >= MIN_ENTROPY for p in pieces)
