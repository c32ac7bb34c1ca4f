"""Malicious and damaged files: each gives an error of Headrace or its text, within the limits."""

from __future__ import annotations

import importlib.util
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random

import pytest

from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parse import parse
from serving.retrieval.sandbox import ParserLimits, parse_isolated
from tests.unit.retrieval import samples

SECRET = "tangerine"


def rezipped(data: bytes, change: Callable[[str, bytes], bytes], **more: bytes) -> bytes:
    """Returns the archive with `change` applied to its entries."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: change(name, archive.read(name)) for name in archive.namelist()}
    return samples.zipped({**entries, **more})


def with_entities(data: bytes, entry: str, tag: str) -> bytes:
    """Returns the document with XML entities in one part: some expand to 100,000,000 characters, one names a file."""
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 8))
    subset = f'<!DOCTYPE x [<!ENTITY e0 "{SECRET * 10}">{levels}<!ENTITY f SYSTEM "file:///etc/passwd">]>'

    def change(name: str, content: bytes) -> bytes:
        if name != entry:
            return content
        text = content.decode()
        end = text.find("?>") + 2 if text.startswith("<?xml") else 0
        at = text.index(">", text.index(f"<{tag}", end)) + 1
        return (text[:end] + subset + text[end:at] + "&e7;&f;" + text[at:]).encode()

    return rezipped(data, change)


def far_cell() -> bytes:
    """Returns a sheet with two cells: the first and the very last one possible."""
    cells = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>2</v></c></row>'

    def change(name: str, content: bytes) -> bytes:
        if name != "xl/worksheets/sheet1.xml":
            return content
        before, _, after = content.decode().partition("<sheetData>")
        return f"{before}<sheetData>{cells}</sheetData>{after.partition('</sheetData>')[2]}".encode()

    return rezipped(samples.xlsx(), change)


def huge_image() -> bytes:
    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    pixels = zlib.compress(bytes(1_000_000))
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", pixels) + part(b"IEND", b"")


def nested_mail(depth: int) -> bytes:
    lines = ["From: a@example.com", "Subject: Deep"]
    for n in range(depth):
        lines += [f"Content-Type: multipart/mixed; boundary=b{n}", "", f"--b{n}"]
    return "\r\n".join([*lines, "Content-Type: text/plain", "", "deep"]).encode()


PROTECTED_BOOK = (
    '<encryption xmlns:e="http://www.w3.org/2001/04/xmlenc#"><e:EncryptedData>'
    '<e:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes256-cbc"/></e:EncryptedData></encryption>'
)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)

REFUSED: list[tuple[str, str, Callable[[], bytes], str]] = [
    ("a bomb", "a.xlsx", lambda: samples.zipped({"xl/workbook.xml": bytes(30_000_000)}), "too_large"),
    ("a bomb", "a.epub", lambda: samples.zipped({"META-INF/container.xml": bytes(30_000_000)}), "too_large"),
    ("under a password", "a.xlsx", lambda: OLE, "encrypted"),
    ("under a password", "a.pptx", lambda: OLE, "encrypted"),
    ("protected", "a.epub", lambda: samples.epub(**{"META-INF/encryption.xml": PROTECTED_BOOK}), "encrypted"),
    ("another's", "a.xlsx", samples.pptx, "wrong_type"),
    ("another's", "a.msg", lambda: OLE, "wrong_type"),
    ("another's", "a.eml", samples.msg, "wrong_type"),
    ("of a file outside", "a.epub", lambda: samples.epub(**{"OPS/book.opf": OUTSIDE}), "damaged"),
    ("without an end", "a.json", lambda: b'{"a": "tangerine', "damaged"),
    ("with a broken line", "a.jsonl", lambda: b'{"a": 1}\n{"tangerine"', "damaged"),
    ("without headers", "a.eml", lambda: b"tangerine\n\ntangerine", "damaged"),
    *(
        ("truncated", f"a.{format}", lambda format=format: getattr(samples, format)()[:-700], "damaged")
        for format in ("xlsx", "pptx", "epub", "msg")
    ),
]
OUTSIDE = samples.BOOK.replace("two.xhtml", "../../../../etc/passwd")


@pytest.mark.parametrize(("name", "make", "code"), [r[1:] for r in REFUSED], ids=[f"{r[1]} {r[0]}" for r in REFUSED])
def test_a_malicious_file_is_refused(name: str, make: Callable[[], bytes], code: str) -> None:
    with pytest.raises(UnreadableDocument) as caught:
        parse(make(), name)
    assert caught.value.code == code
    assert SECRET not in caught.value.message


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.xlsx", far_cell),
        ("a.json", lambda: b"[" * 1_000_000),
        ("a.json", lambda: b"[" * 200 + b"1" + b"]" * 200),
        ("a.eml", lambda: nested_mail(2_000)),
    ],
    ids=["a far cell", "brackets", "lists", "a nested message"],
)
def test_a_file_over_the_limits_is_too_complex(name: str, make: Callable[[], bytes]) -> None:
    with pytest.raises(UnreadableDocument) as caught:
        parse_isolated(make(), name, ParserLimits(cpu_s=20))
    assert caught.value.code == "too_complex"


@pytest.mark.parametrize(
    ("name", "make", "entry", "tag"),
    [
        ("a.docx", samples.docx, "word/document.xml", "w:t"),
        ("a.pptx", samples.pptx, "ppt/slides/slide1.xml", "a:t"),
        ("a.xlsx", samples.xlsx, "xl/sharedStrings.xml", "t"),
        ("a.epub", samples.epub, "OPS/book.opf", "title"),
        ("a.epub", samples.epub, "OPS/two.xhtml", "p"),
    ],
)
def test_xml_entities_are_not_expanded(name: str, make: Callable[[], bytes], entry: str, tag: str) -> None:
    try:
        document = parse(with_entities(make(), entry, tag), name)
    except UnreadableDocument as e:
        text = e.message
    else:
        text = document.text + document.title
    assert len(text) < 1_000
    assert "root:" not in text


def test_an_image_of_too_many_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("rapidocr") is None:
        pytest.skip("the group `ocr` is not installed")
    with pytest.raises(UnreadableDocument) as caught:
        parse(huge_image(), "a.png")
    assert caught.value.code == "too_large"


def test_macros_are_ignored() -> None:
    def same(_: str, content: bytes) -> bytes:
        return content.replace(b"spreadsheetml.sheet.main", b"spreadsheetml.sheet.macroEnabled.main")

    data = rezipped(samples.xlsx(), same, **{"xl/vbaProject.bin": b"Auto_Open tangerine"})
    assert [block.text for block in parse(data, "a.xlsm").blocks] == samples.GATE_ROWS


def damaged(data: bytes, random: Random) -> bytes:
    """Returns `data` with bytes changed, removed or repeated; entries of an archive are packed again."""
    if data.startswith(b"PK") and random.random() < 0.7:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            chosen = random.choice(archive.namelist())
        return rezipped(data, lambda name, content: damaged(content, random) if name == chosen else content)
    changed = bytearray(data)
    for _ in range(random.choice([1, 3, 20])):
        if not changed:
            break
        at = random.randrange(len(changed))
        match random.randrange(4):
            case 0:
                changed[at] = random.randrange(256)
            case 1:
                del changed[at : at + random.randrange(200)]
            case 2:
                changed[at:at] = changed[at : at + random.randrange(200)] * random.choice([1, 50])
            case 3:
                changed[at : at + 4] = random.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0", b"<!--"])
    return bytes(changed)


SAMPLES: dict[str, Callable[[], bytes]] = {
    **{f"a.{format}": getattr(samples, format) for format in ("docx", "pptx", "xlsx", "epub", "eml", "msg")},
    "a.pdf": lambda: samples.pdf(lambda canvas: canvas.drawString(72, 720, "North gate")),
    "a.csv": lambda: b'Gate,Built\n"North",1801\n',
    "a.json": lambda: b'{"a": [1, {"b": "c"}]}',
    "a.html": lambda: b"<table><tr><th>Gate<th>Built<tr><td>North<td>1801</table><p>Open.",
    "a.yaml": lambda: b"a: 1\ngates:\n  - north\n",
}


def read_damaged(name: str, seeds: range) -> None:
    data = SAMPLES[name]()
    crashed = []
    for seed in seeds:
        try:
            parse_isolated(damaged(data, Random(seed)), name, ParserLimits(cpu_s=20, wall_s=60))
        except UnreadableDocument as e:
            if e.code == "too_complex":  # the child process did not crash
                crashed.append(seed)
    assert crashed == []


@pytest.mark.parametrize("name", SAMPLES)
def test_a_damaged_file_gives_text_or_an_error(name: str) -> None:
    read_damaged(name, range(2))


@pytest.mark.soak
@pytest.mark.parametrize("name", SAMPLES)
def test_many_damaged_files_give_text_or_an_error(name: str) -> None:
    read_damaged(name, range(2, 400))
