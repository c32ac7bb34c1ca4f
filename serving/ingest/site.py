"""The documents of a web site, by its sitemap or by links."""

from __future__ import annotations

import codecs
import hashlib
import mimetypes
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urljoin
from urllib.robotparser import RobotFileParser

from selectolax.lexbor import LexborHTMLParser

from serving.core import url
from serving.core.url import BadUrl, Url
from serving.ingest import sitemap
from serving.ingest.api import IngestError
from serving.ingest.collection import IngestRefused
from serving.ingest.source import Inventory, is_document, report_skipped
from serving.ingest.web_client import AGENT, NoAnswer, NotFetched, WebAnswer, WebClient
from serving.retrieval.parsers import kinds

DOWN_AFTER = 5
"""Number of requests in a row without an answer after which the site counts as down."""

_HTML = ("text/html", "application/xhtml+xml")
_PAGES = (".html", ".htm", ".xhtml")
_TEXTS = (*_PAGES, ".md", ".markdown", ".txt")
_CHARSETS = ("utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252", "utf-16", "shift_jis", "euc_jp", "gb18030", "big5")
"""Python's names of supported charsets. Some of its other codecs take quadratic time."""


@dataclass(frozen=True)
class SiteOptions:
    """`depth` is how far links are followed; None: the sitemap lists the pages. `delay_s` is in seconds.

    With `private`, the site may have a private address. Without `trust_lastmod`, pages are asked for although the
    sitemap says that they have not changed.
    """

    depth: int | None = None
    delay_s: float = 0.5
    max_pages: int = 10_000
    max_bytes: int = 2_000_000_000
    private: bool = False
    trust_lastmod: bool = True
    every_kind: bool = False


class SiteSource:
    """Pages below a URL. A version is the sitemap's time of change, and the ETag, the date or the checksum of the page.

    Pages are read while they are listed, and kept in a temporary folder.
    """

    def __init__(self, base: str, options: SiteOptions, *, say: Callable[[str], None]) -> None:
        """Raises `IngestError` if `base` is not a URL."""
        try:
            self._base = url.parse(base)
        except BadUrl as e:
            raise IngestError(f"--documents: {e}") from None
        self._options = options
        self._say = say
        self._folder = tempfile.TemporaryDirectory(prefix="headrace-site-")
        self._found: Inventory | None = None

    def listing(self, known: Mapping[str, str]) -> Inventory:
        if self._found is None:  # another attempt to reach the API does not read the site again
            with WebClient(private=self._options.private, delay_s=self._options.delay_s) as client:
                visit = _Visit(client, self._base, self._options, known, self._file)
                self._found = visit.pages() if self._options.depth is None else visit.links(self._options.depth)
            report_skipped(visit.left_out, self._say)
        return self._found

    def read(self, path: str, version: str) -> bytes:
        try:
            return self._file(path).read_bytes()
        except FileNotFoundError:  # it was complete in the collection when the site was listed
            raise IngestRefused("was removed from the collection meanwhile; try again") from None

    def _file(self, path: str) -> Path:
        return Path(self._folder.name) / hashlib.sha256(path.encode()).hexdigest()


class _Visit:
    """One visit of the site."""

    def __init__(
        self, client: WebClient, base: Url, options: SiteOptions, known: Mapping[str, str], file: Callable[[str], Path]
    ) -> None:
        self._client = client
        self._base = base
        self._options = options
        self._known = known
        self._file = file
        self._versions: dict[str, str] = {}
        self._failed: dict[str, str] = {}
        self.left_out: list[str] = []
        self._unanswered = 0
        self._asked = 0
        self._rules: RobotFileParser = sitemap.rules(client, base)
        self._client.delay_s = max(options.delay_s, float(self._rules.crawl_delay(AGENT) or 0))

    def pages(self) -> Inventory:
        """Visits the pages of the sitemaps."""
        listed = dict(sitemap.pages(self._client, self._base, self._rules.site_maps() or []))
        for target, changed in listed.items():
            if cut := self._limit():
                return self._inventory(cut)
            self._visit(target, changed)
        return self._inventory()

    def links(self, depth: int) -> Inventory:
        """Visits the pages that links lead to, the first of which is the base itself."""
        level, seen, unknown = [self._base], {self._base}, 0
        for further in range(depth, -1, -1):
            found: list[Url] = []
            for target in level:
                if cut := self._limit():
                    return self._inventory(cut)
                # A page that has not changed does not come, and neither do its links: only the last pages need none.
                answer = self._visit(target, conditional=not further)
                path = path_of(target, self._base)
                if path in self._failed:
                    if target == self._base:
                        raise IngestError(f"{self._base} cannot be read: {self._failed[path]}")
                    unknown += bool(further)
                if answer and further:
                    new = [each for each in _links(answer) if each.below(self._base) and each not in seen]
                    seen.update(new)
                    found += dict.fromkeys(new)
            level = found
        return self._inventory(f"{unknown} pages could not be read, whose links are unknown" if unknown else "")

    def _inventory(self, cut: str = "") -> Inventory:
        if not self._versions:
            reasons = [cut] if cut else [f"{path}: {why}" for path, why in self._failed.items()]
            raise IngestError("; ".join([f"{self._base} contains no documents", *reasons[:1]]))
        return Inventory(self._versions, self._failed, cut)

    def _limit(self) -> str:
        """Returns why no further page is asked for; empty if it is."""
        if self._asked >= self._options.max_pages:
            return f"the site has more than {self._options.max_pages} pages (--max-pages)"
        if self._client.received >= self._options.max_bytes:
            return f"the site has more than {self._options.max_bytes} bytes (--max-bytes)"
        return ""

    def _allowed(self, target: Url) -> bool:
        return target.below(self._base) and self._rules.can_fetch(AGENT, str(target))

    def _visit(self, target: Url, changed: str = "", *, conditional: bool = True) -> WebAnswer | None:
        """Notes what is at a URL now; returns the answer if it is a page."""
        path = path_of(target, self._base)
        if not self._allowed(target) or not self._may_be_document(target, path):
            self.left_out.append(path)
            return None
        self._asked += 1
        old = self._known.get(path, "")
        if old and changed and self._options.trust_lastmod and old.startswith(f"{changed} "):
            self._versions[path] = old
            return None
        headers = _conditions(old) if conditional else {}
        try:
            answer = self._client.fetch(target, self._allowed, headers)
        except NotFetched as e:
            self._failed[path] = str(e)
            self._unanswered = self._unanswered + 1 if isinstance(e, NoAnswer) else 0
            if self._unanswered >= DOWN_AFTER:
                raise IngestError(f"{self._base} does not answer: {e}") from None
            return None
        self._unanswered = 0
        if answer.status == 304 and headers:
            self._versions[path] = old
        elif answer.status == 200:
            return self._keep(answer, changed)
        elif answer.status not in (404, 410):
            self._failed[path] = f"the site answered {answer.status}"
        return None

    def _may_be_document(self, target: Url, path: str) -> bool:
        """Returns whether a URL may be a document, by its extension."""
        if not (self._options.every_kind or is_document(path)):
            return False
        guessed, _ = mimetypes.guess_type(target.path)
        return PurePosixPath(target.path).suffix.lower() in kinds() or guessed is None or guessed in _HTML

    def _keep(self, answer: WebAnswer, changed: str) -> WebAnswer | None:
        path = path_of(answer.url, self._base)
        if path in self._versions:  # two URLs of one page
            return answer
        page = path.endswith(_PAGES)
        if not answer.body or (page and answer.kind not in _HTML):
            self.left_out.append(path)
            return None
        body = _text(answer).encode() if path.endswith(_TEXTS) else answer.body
        self._file(path).write_bytes(body)
        self._versions[path] = _version(answer, changed)
        return answer if page else None


def path_of(target: Url, base: Url) -> str:
    """Returns a document's path below the base; that of a page without an extension ends in .html."""
    rest = unquote(target.path.removeprefix(base.path).strip("/")) or "index"
    if target.query is not None:
        rest += f"?{target.query}"
    elif PurePosixPath(rest).suffix.lower() in kinds():
        return rest
    return f"{rest}.html"


def _version(answer: WebAnswer, changed: str) -> str:
    for name in ("ETag", "Last-Modified"):
        value = answer.headers.get(name, "")
        if 0 < len(value) <= 200:
            return f"{changed} {name}: {value}"
    return f"{changed} SHA-256: {hashlib.sha256(answer.body).hexdigest()}"


def _conditions(version: str) -> dict[str, str]:
    """Returns the headers of a request for what is not of this version."""
    name, _, value = version.partition(" ")[2].partition(": ")
    header = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}.get(name)
    return {header: value} if header else {}


def _links(answer: WebAnswer) -> Iterator[Url]:
    for link in LexborHTMLParser(_text(answer)).css("a[href]"):
        try:
            yield url.parse(urljoin(str(answer.url), (link.attributes.get("href") or "").strip()))
        except ValueError:  # mail addresses, and whatever is no URL
            continue


def _text(answer: WebAnswer) -> str:
    """Decodes a text by the charset that is declared, if the text is in it, and by the most frequent ones if not."""
    for charset in (answer.charset, "utf-8", "cp1252"):
        try:
            name = codecs.lookup(charset or "utf-8").name
            return answer.body.decode("utf-8-sig" if name not in _CHARSETS or name == "utf-8" else name)
        except (LookupError, ValueError):
            continue
    return answer.body.decode("utf-8", "replace")
