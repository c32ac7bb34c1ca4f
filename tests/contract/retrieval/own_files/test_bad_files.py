"""Files that cannot be read are refused with a sentence that says what to do."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import httpx
import pytest
import xlsxwriter
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from serving.config import Catalog, Limits, RemoteModel
from tests.contract.routes.whole import client
from tests.contract.running import Loop, gateway


def encrypted() -> bytes:
    made = io.BytesIO()
    canvas = Canvas(made, encrypt=StandardEncryption("secret"))
    canvas.drawString(72, 720, "The tide turns at noon.")
    canvas.save()
    return made.getvalue()


def workbook(value: object) -> bytes:
    """A workbook whose formula has that value, empty as programs leave it that only write."""
    made = io.BytesIO()
    book = xlsxwriter.Workbook(made, {"in_memory": True})
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, ["Price", "Doubled"])
    sheet.write(1, 0, 3)
    sheet.write_formula(1, 1, "=A2*2", None, value)
    book.close()
    return made.getvalue()


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    models = (RemoteModel(name="m", url="http://127.0.0.1:9/v1", retries=0),)
    limits = Limits(upload_bytes=100_000)
    folder = tmp_path_factory.mktemp("bad")
    with Loop() as loop, gateway(loop, folder, Catalog(models=models), limits=limits) as up, client(up) as asking:
        yield asking


BAD = [
    ("none.txt", b"", "the file is empty"),
    ("run.exe", b"MZ", "files of the type .exe cannot be read; send text, Markdown, HTML, a PDF"),
    ("plain", b"words", "files without an extension cannot be read; send text"),
    ("false.pdf", b"no PDF", "the extension is .pdf, but the content is something else"),
    ("locked.pdf", encrypted(), "the PDF is encrypted; remove its password first"),
    ("sums.xlsx", workbook(""), "the formulas of the workbook have no values yet; open it in a spreadsheet program"),
]


@pytest.mark.parametrize(("name", "data", "why"), BAD, ids=[each[0] for each in BAD])
def test_a_question_about_an_unreadable_file_is_refused_with_a_sentence(
    http: httpx.Client, name: str, data: bytes, why: str
) -> None:
    file = {"filename": name, "file_data": f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"}
    content = [{"type": "file", "file": file}, {"type": "text", "text": "What does it say?"}]
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    answer = http.post("/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "unsupported_file", "messages")
    assert error["message"].startswith(f"A file cannot be read: {why}"), error
    assert error["message"].count(".") < 8, "no list of all extensions"


def test_an_upload_of_an_unknown_type_is_refused_with_a_sentence(http: httpx.Client) -> None:
    sent = http.post("/v1/files", data={"purpose": "user_data"}, files={"file": ("run.exe", b"MZ")})
    error = sent.json()["error"]
    assert (sent.status_code, error["code"], error["param"]) == (400, "unsupported_file", "file")
    assert error["message"].startswith("The file cannot be used: files of the type .exe cannot be read; send text")


def test_a_workbook_whose_formulas_were_computed_is_read(http: httpx.Client) -> None:
    sent = http.post("/v1/files", data={"purpose": "user_data"}, files={"file": ("sums.xlsx", workbook(6))})
    assert sent.status_code == 200, sent.text
    text = http.get(f"/v1/files/{sent.json()['id']}/text").json()["text"]
    assert "Doubled: 6" in text


def test_too_many_files_are_refused_with_what_to_do(http: httpx.Client) -> None:
    file = {"filename": "a.txt", "file_data": base64.b64encode(b"words").decode()}
    content = [*[{"type": "file", "file": file}] * 40, {"type": "text", "text": "What?"}]
    answer = http.post("/v1/chat/completions", json={"model": "m", "messages": [{"role": "user", "content": content}]})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "too_many_files")
    assert "at most 16 files, and this one has 40: ask about fewer at once" in error["message"]
