"""Normalised HTTP URLs, and whether one is below another.

Input that two parsers could interpret differently is rejected, not corrected: an allow-list and the server must mean
the same resource. Sources: RFC 3986 (syntax, section 6.2.2: percent-encoding), UTS 46 (internationalised names),
WHATWG's URL standard (hosts that end in a number are IPv4 addresses).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from urllib.parse import quote, unquote

MAX_URL = 4096
"""Maximum length of a URL."""

PORTS = {"http": 80, "https": 443}

_PARTS = re.compile(r"(https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
_NAME = re.compile(r"([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class BadUrl(ValueError):
    """A URL is invalid or ambiguous. The message says why."""


@dataclass(frozen=True, slots=True)
class Url:
    """A normalised URL; `host` is ASCII in lower case, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int
    path: str
    query: str | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}" + ("" if self.query is None else f"?{self.query}")

    def below(self, prefix: Url) -> bool:
        """Returns whether this is `prefix` itself, or below it by whole path segments."""
        if (self.scheme, self.host, self.port) != (prefix.scheme, prefix.host, prefix.port):
            return False
        return self.path == prefix.path or self.path.startswith(prefix.path.rstrip("/") + "/")


def parse(text: str) -> Url:
    """Returns a normalised URL without its fragment. Raises `BadUrl`."""
    if len(text) > MAX_URL:
        raise BadUrl(f"the URL has more than {MAX_URL} characters")
    if re.search(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]", text):
        raise BadUrl("the URL contains a space, a backslash or a control character")
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise BadUrl("it is not an http or https URL")
    scheme, authority, path, query = parts[1].lower(), parts[2], parts[3], parts[4]
    if "@" in authority:
        raise BadUrl("the URL must not contain a user or a password")
    found = _AUTHORITY.fullmatch(authority)
    port = int(found[2]) if found is not None and found[2] else PORTS[scheme]
    if found is None or not 0 < port < 65536:
        raise BadUrl("the URL's host or port is not valid")
    return Url(scheme, _host(found[1]), port, _path(path), None if query is None else _escaped(query))


def is_loopback(host: str) -> bool:
    """Returns whether a host of a URL is the one that asks: `localhost`, or a loopback address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host(text: str) -> str:
    if text.startswith("["):
        try:
            return str(IPv6Address(text[1:-1]))
        except AddressValueError:
            raise BadUrl("the URL's host is not an IPv6 address") from None
    if "%" in text:
        raise BadUrl("the URL's host is percent-encoded")
    if not text.isascii():
        import idna  # rarely needed, and this module is imported at every start

        try:
            text = idna.encode(text, uts46=True, std3_rules=True).decode()
        except idna.IDNAError:
            raise BadUrl("the URL's host is not a name") from None
    host = text.lower().removesuffix(".")
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise BadUrl("the URL's host is not a name")
    last = host.rpartition(".")[2]
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last):
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise BadUrl("the URL's host ends in a number, but is not an IPv4 address") from None
    return host


def _path(text: str) -> str:
    path = _escaped(text or "/")
    seen = path
    # Servers may decode repeatedly, and some treat a fullwidth full stop or percent sign as the ASCII one.
    while (decoded := unicodedata.normalize("NFKC", unquote(seen, errors="replace"))) != seen:
        seen = decoded
    if "\ufffd" in seen:
        raise BadUrl("the URL's path is not UTF-8")
    if seen.count("/") != path.count("/") or "\\" in seen:
        raise BadUrl("the URL's path contains an encoded slash or a backslash")
    # Some servers treat the text after a semicolon as a parameter: for them `..;a` is `..`.
    if any(segment.partition(";")[0].strip() in (".", "..") for segment in seen.split("/")):
        raise BadUrl("the URL's path contains . or .. segments")
    if "//" in path:
        raise BadUrl("the URL's path contains an empty segment")
    if re.search(r"[\x00-\x1f\x7f]", seen):
        raise BadUrl("the URL's path contains a control character")
    return path


def _escaped(text: str) -> str:
    """Normalises the percent-encoding of a path or a query."""

    def respell(match: re.Match[str]) -> str:
        if match[1] is None:
            raise BadUrl("the URL's percent-encoding is wrong")
        character = chr(int(match[1], 16))
        return character if character in _UNRESERVED else match[0].upper()

    try:
        return quote(_ESCAPE.sub(respell, text), safe="%!$&'()*+,;=:@/?[]|~")
    except UnicodeEncodeError:
        raise BadUrl("the URL contains an invalid character") from None
