"""HTML by selectolax: the visible text of the page's main part, block by block."""

from __future__ import annotations

import re
from collections import Counter

from selectolax.lexbor import LexborHTMLParser, LexborNode

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parsers.table import add_table
from serving.retrieval.types import Document

_HIDDEN = "script, style, noscript, template, svg, iframe, object, nav, form, [hidden]"
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    """
    address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption figure footer
    header hr html li main ol p pre section summary table tbody tfoot thead tr ul
    """.split()  # noqa: SIM905
)

_NOT_OF_A_CELL = frozenset("article blockquote dl main ol pre section table ul".split())  # noqa: SIM905
"""Elements that do not occur in cells of data rows; a table with one of them is a page layout."""

_TAG = re.compile(r"<(?:!--|(/?)([a-zA-Z][^\s/>]*)([^<>]*))")
_NEVER_DEEP = frozenset(
    """
    area base br col embed hr img input link meta param source track wbr
    body caption colgroup dd dt head html li optgroup option p rb rp rt rtc tbody td tfoot th thead tr
    """.split()  # noqa: SIM905
)
"""Elements without content, and those that the next element of their kind closes."""
_RAW = {
    name: re.compile(f"</{name}", re.IGNORECASE)
    for name in ("iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp")
}
"""Elements with text content, and their end: `i<n` in a script is not a tag."""
_FOREIGN = frozenset(("svg", "math"))
"""Elements in which any element nests, and `/>` closes it."""
_SCOPE_BOUNDARIES = _FOREIGN | frozenset("applet button marquee object select table template".split())  # noqa: SIM905
"""Elements in which an end tag closes nothing outside of them."""


def parse_html(text: str, name: str, bounds: ChunkBounds) -> Document:
    """Reads `<main>` if there is one; the title is that of `<title>`."""
    builder = DocumentBuilder("html", bounds)
    title = add_page(builder, text)
    return builder.build(name, title)


def add_page(builder: DocumentBuilder, text: str, page: int | None = None) -> str:
    """Adds the blocks of a page, and returns its title."""
    _refuse_deep(text, builder.bounds.elements_deep)
    tree = LexborHTMLParser(text)
    title = tree.css_first("title")
    page_title = title.text() if title else ""
    root = tree.css_first("main") or tree.body
    if root is not None:
        for hidden in root.css(_HIDDEN):
            hidden.decompose()
        _walk(root, builder, page)
    return page_title


def _refuse_deep(text: str, most: int) -> None:
    """Rejects deep nesting: for each tag, an HTML parser examines all open elements, so that parsing takes quadratic
    time.

    A deliberately malformed page can be nested more deeply than is counted here: the sandbox limits its time.
    """
    walls: list[str] = [""]
    within: list[Counter[str]] = [Counter()]
    depth = 0
    at = 0
    while found := _TAG.search(text, at):
        end, tag, rest = found.groups()
        at = found.end()
        if tag is None:
            comment_end = text.find("-->", at - 2)
            at = comment_end if comment_end >= 0 else len(text)
            continue
        name = tag.lower()
        foreign = walls[-1] in _FOREIGN or name in _FOREIGN
        if name in _RAW and not end and not foreign:
            ending = _RAW[name].search(text, at)
            at = ending.start() if ending else len(text)
            continue
        if rest.endswith("/") if foreign else name in _NEVER_DEEP:
            continue
        if not end:
            depth += 1
            if name in _SCOPE_BOUNDARIES:
                walls.append(name)
                within.append(Counter())
            else:
                within[-1][name] += 1
        elif name == walls[-1]:
            walls.pop()
            depth -= 1 + within.pop().total()
        elif within[-1][name] > 0:
            within[-1][name] -= 1
            depth -= 1
        if depth > most:
            raise UnreadableDocument(
                "too_complex", f"the elements of the page are nested more than {most:,} levels deep"
            )


def _walk(root: LexborNode, builder: DocumentBuilder, page: int | None) -> None:
    """Walks the tree depth first with an explicit stack: hostile nesting must not exhaust Python's."""
    line: list[str] = []
    pre = 0

    def flush() -> None:
        joined = "".join(line)
        builder.add(joined if pre else " ".join(joined.split()), page)
        line.clear()

    stack: list[tuple[LexborNode, bool]] = [(root, False)]
    while stack:
        node, leaving = stack.pop()
        tag = node.tag or ""
        if tag == "-text":
            line.append(node.text_content or "")
        elif tag in _HEADINGS:
            flush()
            builder.heading(node.text(), _HEADINGS[tag], page)
        elif tag == "br":
            line.append("\n" if pre else " ")
        elif leaving:
            if tag in ("td", "th"):
                line.append(" | ")
            else:
                flush()
                pre -= tag == "pre"
        elif tag == "table" and (table := _rows(node)) is not None:
            flush()
            header, rows = table
            add_table(builder, rows, header=header, page=page)
        elif not tag.startswith(("-", "!")):
            if tag in _BLOCKS:
                flush()
                pre += tag == "pre"
            if tag in _BLOCKS or tag in ("td", "th"):
                stack.append((node, True))
            stack.extend((child, False) for child in reversed(list(node.iter(include_text=True))))
    flush()


def _rows(table: LexborNode) -> tuple[list[str] | None, list[list[str]]] | None:
    """Returns a table's header, if it is marked as one, and its rows; no rows for a table that is a page layout.

    The first element that is not part of a cell's line shows that, so that nested tables are examined only once.
    """
    rows: list[list[str]] = []
    header: list[str] | None = None
    names = True
    parts: list[str] = []
    stack: list[tuple[LexborNode, bool]] = [(table, False)]
    while stack:
        node, leaving = stack.pop()
        tag = node.tag or ""
        if tag == "-text":
            parts.append(node.text_content or "")
        elif leaving and tag in ("td", "th"):
            rows[-1].append("".join(parts))
            parts.clear()
        elif leaving:
            if names and len(rows) == 1 and len(rows[0]) > 1:
                header = rows.pop()
        elif tag in _HEADINGS or (node is not table and tag in _NOT_OF_A_CELL):
            return None
        elif not tag.startswith(("-", "!")):
            if tag == "tr":
                names = header is None
                rows.append([])
                stack.append((node, True))
            elif tag in ("td", "th"):
                names = names and tag == "th"
                parts.clear()
                rows = rows or [[]]
                stack.append((node, True))
            elif tag in ("br", "p", "div", "li"):
                parts.append(" ")
            stack.extend((child, False) for child in reversed(list(node.iter(include_text=True))))
    return header, rows
