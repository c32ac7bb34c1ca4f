"""What a site says about itself: robots.txt and its sitemaps.

Sources: RFC 9309 (robots.txt: 4xx allows everything, 5xx nothing), sitemaps.org 0.9.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.robotparser import RobotFileParser

from lxml import etree

from serving.core import url
from serving.core.url import BadUrl, Url
from serving.ingest.api import IngestError
from serving.ingest.web_client import NotFetched, WebClient, unpacked

MAX_SITEMAPS = 1000


def rules(client: WebClient, base: Url) -> RobotFileParser:
    """Returns the rules of the site's robots.txt. Raises `IngestError` if the site does not give them."""
    where = Url(base.scheme, base.host, base.port, "/robots.txt")
    try:
        answer = client.fetch(where, lambda target: same_origin(target, base))
    except NotFetched as e:
        raise IngestError(f"{where} cannot be read, so nothing of the site may be: {e}") from None
    found = RobotFileParser()
    if answer.status == 200:
        found.parse(answer.body.decode("utf-8", "replace").splitlines())
    elif 400 <= answer.status < 500 and answer.status != 429:
        found.parse([])
    else:
        raise IngestError(f"{where} answered {answer.status}, so nothing of the site may be read")
    return found


def same_origin(one: Url, other: Url) -> bool:
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def pages(client: WebClient, base: Url, named: list[str]) -> Iterator[tuple[Url, str]]:
    """Yields the pages of the sitemaps that lie below `base`, each with its time of change, or an empty one.

    `named` are the sitemaps of robots.txt; without any, it is /sitemap.xml. Raises `IngestError` if one of them cannot
    be read completely.
    """
    left = [where for text in named if (where := _parsed(text)) and same_origin(where, base)]
    left = left or [Url(base.scheme, base.host, base.port, "/sitemap.xml")]
    seen = set(left)
    while left:
        where = left.pop(0)
        root = _read(client, where)
        kind = etree.QName(root).localname
        if kind not in ("urlset", "sitemapindex"):
            raise IngestError(f"{where} is not a sitemap, but <{kind}>; --depth follows links instead")
        for entry in root:
            fields = {etree.QName(each).localname: (each.text or "").strip() for each in entry if _is_element(each)}
            target = _parsed(fields.get("loc", ""))
            if target is None or not same_origin(target, base):
                continue
            if kind == "urlset" and target.below(base):
                yield target, fields.get("lastmod", "")[:40]
            elif kind == "sitemapindex" and target not in seen:
                seen.add(target)
                left.append(target)
                if len(seen) > MAX_SITEMAPS:
                    raise IngestError(f"the site has more than {MAX_SITEMAPS} sitemaps")


def _read(client: WebClient, where: Url) -> etree._Element:
    try:
        answer = client.fetch(where, lambda target: same_origin(target, where))
        if answer.status != 200:
            raise IngestError(f"the sitemap {where} answered {answer.status}; --depth follows links instead")
        body = unpacked(answer.body) if answer.body.startswith(b"\x1f\x8b") else answer.body
    except NotFetched as e:
        raise IngestError(f"the sitemap {where} cannot be read: {e}") from None
    try:
        return etree.fromstring(body, etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True))
    except etree.XMLSyntaxError as e:
        raise IngestError(f"the sitemap {where} is no complete XML: {e.msg}; --depth follows links instead") from None


def _is_element(node: etree._Element) -> bool:
    return isinstance(node.tag, str)  # not a comment


def _parsed(text: str) -> Url | None:
    try:
        return url.parse(text.strip())
    except BadUrl:
        return None
