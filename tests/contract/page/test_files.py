"""Files are dropped or chosen, sent, and asked about; what cannot be taken is said in plain lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.contract.page.world import Shown, World
from tests.wait import eventually

HOSTILE = '"><img src=x onerror=alert(1)>\u202egnp.txt'


def choose(shown: Shown, *paths: Path) -> None:
    field = shown.page.ask("Runtime.evaluate", expression="document.querySelector('.attach input')")["result"]
    shown.page.ask("DOM.setFileInputFiles", files=[str(path) for path in paths], objectId=field["objectId"])


def drop(shown: Shown, *files: tuple[str, str]) -> None:
    """Drops files with these names and JavaScript expressions of their content on the page."""
    made = ", ".join(f"new File([{content}], {json.dumps(name)})" for name, content in files)
    shown.page.evaluate(f"""(() => {{
      const dataTransfer = new DataTransfer();
      for (const file of [{made}]) dataTransfer.items.add(file);
      const place = document.querySelector('.thread');
      for (const type of ['dragover', 'drop'])
        place.dispatchEvent(new DragEvent(type, {{ dataTransfer, bubbles: true, cancelable: true }}));
    }})()""")


def stored(world: World) -> dict[str, dict[str, Any]]:
    return {each["id"]: each for each in world.http.get("/v1/files?limit=100").json()["data"]}


def small(shown: Shown) -> None:
    shown.page.until("document.querySelector('.chooser select').value !== ''")
    shown.page.choose(".chooser select", "small")


def test_a_question_about_a_file_is_answered_from_it(world: World, tmp_path: Path) -> None:
    (tmp_path / "wheel.txt").write_text("The wheel turns at noon.")
    before = stored(world)
    with world.page() as shown:
        small(shown)
        choose(shown, tmp_path / "wheel.txt")
        shown.there("[role=status]", "wheel.txt is attached.")
        shown.gone(".composer progress")
        [id] = stored(world).keys() - before.keys()
        assert (stored(world)[id]["filename"], stored(world)[id]["bytes"]) == ("wheel.txt", 24)
        shown.ask("When does it turn?")
        shown.answered()
        shown.there(".answer", "The wheel turns at noon.")
        shown.gone(".composer .file")
        shown.there(".question .file", "wheel.txt")
        talk = shown.page.evaluate("location.pathname.slice(3)")
        question = world.http.get(f"/v1/conversations/{talk}/items?order=asc").json()["data"][0]
        kept = [(part["type"], part.get("file_id"), part.get("text")) for part in question["content"]]
        assert kept == [("input_file", id, None), ("input_text", None, "When does it turn?")]
        shown.page.open(shown.page.evaluate("location.href"))
        shown.answered()
        shown.there(".question .file", "wheel.txt")
        assert shown.page.evaluate("document.querySelector('.question .file').pathname") == f"/v1/files/{id}/content"
        shown.page.settle()
        assert shown.page.complaints == []


def test_files_are_dropped_and_taken_out_again(world: World) -> None:
    before = stored(world)
    with world.page() as shown:
        drop(shown, (HOSTILE, "'First.'"), ("two.md", "'# Second'"))
        shown.page.until("document.querySelectorAll('.composer .file').length === 2")
        shown.page.until("!document.querySelector('.composer progress')")
        assert HOSTILE.replace("\u202e", "\ufffd") in shown.text(".composer .file .title")
        assert shown.count(".composer img") == 0
        assert len(stored(world).keys() - before.keys()) == 2
        shown.click(".composer .file button")
        shown.page.until("document.querySelectorAll('.composer .file').length === 1")
        assert shown.page.evaluate("document.activeElement.id") == "message"
        shown.click(".composer .file button")
        shown.gone(".composer .file")
        eventually(lambda: stored(world).keys() == before.keys(), "the files are deleted")
        assert shown.page.complaints == []


# The content decides about the last one, and the API's words are shown.
REFUSED = {
    "nothing.txt": ("''", "This file is empty."),
    "big.txt": ("new Uint8Array({most} + 1)", "This file is too large"),
    "run.exe": ("'MZ'", "Files that end in .exe cannot be read."),
    "README": ("'x'", "A file whose name has no ending cannot be read."),
    '<b onclick="alert(1)">.exe': ("'MZ'", "Files that end in .exe cannot be read."),
    "false.pdf": ("'no PDF'", "The file cannot be used"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_read_stays_and_says_why_until_it_is_taken_off(world: World, name: str) -> None:
    content, reason = REFUSED[name]
    most = world.http.get("/v1/me").json()["headrace"]["limits"]["upload_bytes"]
    before = stored(world)
    with world.page() as shown:
        small(shown)
        drop(shown, (name, content.format(most=most)))
        shown.there(".composer .file [role=alert]", reason)
        said = shown.text(".composer .file [role=alert]")
        assert len(said) < 160, "one sentence"
        shown.ask("Not without it!")
        shown.there("[role=status]", "Take off each file that cannot be read")
        assert shown.page.evaluate("document.querySelector('.send').disabled")
        assert (shown.count(".question"), shown.count(".composer b")) == (0, 0)
        assert shown.text(".composer .file .title") == name
        assert shown.page.evaluate("document.querySelector('#message').value") == "Not without it!"
        assert stored(world).keys() == before.keys()
        shown.click(".composer .file button")
        shown.gone(".composer .file")
        shown.enter()
        shown.answered()
        shown.there(".question > p", "Not without it!")
        assert shown.count(".question .file") == 0


def test_more_files_than_a_question_takes_are_counted(world: World) -> None:
    with world.page() as shown:
        drop(shown, *[(f"{n}.txt", f"'{n}'") for n in range(40)])
        shown.there(".composer > [role=alert]", "at most 16 files: 24 were not attached.")
        assert shown.count(".composer .file") == 16


def test_a_lost_connection_while_sending_is_said(world: World) -> None:
    with world.page() as shown:
        shown.page.ask("Network.setBlockedURLs", urls=["*/v1/files"])
        drop(shown, ("one.txt", "'One.'"))
        shown.there(".composer [role=alert]", "The server cannot be reached.")
        shown.page.ask("Network.setBlockedURLs", urls=[])
