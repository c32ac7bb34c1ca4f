"""HTML by selectolax: visible text of the page's main part, block by block."""

from __future__ import annotations

from selectolax.lexbor import LexborHTMLParser, LexborNode

from serving.retrieval.builder import Bounds, DocumentBuilder
from serving.retrieval.types import Document

_HIDDEN = "script, style, noscript, template, svg, iframe, object, nav, form, [hidden]"
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    """
    address article aside blockquote body caption center dd details dialog div dl dt fieldset figcaption figure footer
    header hr html li main ol p pre section summary table tbody tfoot thead tr ul
    """.split()  # noqa: SIM905
)


def parse_html(text: str, name: str, bounds: Bounds) -> Document:
    """Reads `<main>` when there is one; the title is that of `<title>`."""
    tree = LexborHTMLParser(text)
    title = tree.css_first("title")
    page_title = title.text() if title else ""
    root = tree.css_first("main") or tree.body
    builder = DocumentBuilder("html", bounds)
    if root is not None:
        for hidden in root.css(_HIDDEN):
            hidden.decompose()
        _walk(root, builder)
    return builder.build(name, page_title)


def _walk(root: LexborNode, builder: DocumentBuilder) -> None:
    """Depth first with a stack of our own: hostile nesting must not exhaust Python's."""
    line: list[str] = []
    pre = 0

    def flush() -> None:
        joined = "".join(line)
        builder.add(joined if pre else " ".join(joined.split()))
        line.clear()

    stack: list[tuple[LexborNode, bool]] = [(root, False)]
    while stack:
        node, leaving = stack.pop()
        tag = node.tag or ""
        if tag == "-text":
            line.append(node.text_content or "")
        elif tag in _HEADINGS:
            flush()
            builder.heading(node.text(), _HEADINGS[tag])
        elif tag == "br":
            line.append("\n" if pre else " ")
        elif leaving:
            if tag in ("td", "th"):
                line.append(" | ")
            else:
                flush()
                pre -= tag == "pre"
        elif not tag.startswith(("-", "!")):
            if tag in _BLOCKS:
                flush()
                pre += tag == "pre"
            if tag in _BLOCKS or tag in ("td", "th"):
                stack.append((node, True))
            stack.extend((child, False) for child in reversed(list(node.iter(include_text=True))))
    flush()
