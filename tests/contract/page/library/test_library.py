"""The library: people make, change and delete assistants, collections and prompts in the page."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.page.sources import UI
from tests.contract.page.test_accessibility import clean, layouts, press
from tests.contract.page.world import Shown, World


def said(language: str) -> dict[str, str]:
    found = {}
    for line in (UI / "src" / "i18n" / "library" / f"{language}.ts").read_text().splitlines():
        name, is_text, text = line.strip().partition(': "')
        if is_text:
            found[name] = text.removesuffix('",')
    return found


EN = said("en")


@pytest.fixture
def maker(world: World) -> Iterator[World]:
    """Somebody in a tenant of their own, in which there is nothing yet."""
    key = world.up.loop.do(key_of(world.up.services, Principal(f"t{secrets.token_hex(4)}", "mia", "")))
    own = World(world.up, world.engine, world.browser, key)
    yield own
    own.http.close()


def open_library(shown: Shown, kind: str, language: str = "en") -> None:
    shown.click(".side button[aria-haspopup=dialog]")
    press(shown, ".library nav", said(language)[kind])


def fill(shown: Shown, name: str, text: str) -> None:
    shown.there(f"dialog [name='{name}']")
    shown.page.evaluate(f"document.querySelector(\"dialog [name='{name}']\").focus()")
    shown.page.evaluate(f"document.querySelector(\"dialog [name='{name}']\").select?.()")
    shown.write(text)


def listed(maker: World, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = maker.http.get(path).json()["data"]
    return found


def test_a_prompt_is_made_changed_and_deleted(maker: World) -> None:
    with maker.page() as shown:
        open_library(shown, "prompts")
        shown.there(".library", EN["noPrompts"])
        press(shown, ".library", EN["makePrompt"])
        fill(shown, "name", "No Name")
        fill(shown, "text", "Greet {{who}}.")
        press(shown, ".library", EN["save"])
        shown.there("dialog .entry .error", EN["badName"])
        assert shown.page.evaluate("document.activeElement.name") == "name"
        fill(shown, "name", "greet")
        shown.enter()
        shown.there(".library li", "Greet {{who}}.")
        [made] = listed(maker, "/v1/prompts")
        moved = maker.http.put(f"/v1/prompts/{made['id']}/labels/production", json={"version": 1})
        assert moved.status_code == 200, moved.text
        press(shown, ".library nav", EN["assistants"])
        press(shown, ".library nav", EN["prompts"])
        press(shown, ".library li", EN["change"])
        fill(shown, "text", "Welcome {{who}}.")
        press(shown, ".library", EN["save"])
        shown.there(".library li", "Welcome {{who}}.")
        [made] = listed(maker, "/v1/prompts")
        assert (made["version"], made["labels"]["production"]) == (2, 2), "what requests get is what was written"
        press(shown, ".library li", "Delete")
        shown.there(".sure", EN["surePrompt"])
        press(shown, ".sure", "Cancel")
        shown.gone(".sure")
        press(shown, ".library li", "Delete")
        press(shown, ".sure", "Delete")
        shown.there(".library", EN["noPrompts"])
        assert listed(maker, "/v1/prompts") == []
        shown.page.settle()
        assert shown.page.complaints == []


def test_files_and_folders_become_documents_with_a_reason_for_each_that_does_not(maker: World, tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "sea.md").write_text("The sea is deep.")
    (tmp_path / "deep" / "er" / "lake.txt").write_text("The lake is not.")
    (tmp_path / "deep" / "run.exe").write_text("MZ")
    (tmp_path / "deep" / "nothing.txt").write_text("")
    with maker.page() as shown:
        open_library(shown, "collections")
        press(shown, ".library", EN["makeCollection"])
        press(shown, ".library", EN["save"])
        shown.there("dialog .entry .error", EN["needed"])
        fill(shown, "name", "Waters")
        shown.enter()
        shown.there(".documents h3", "Waters")
        [store] = listed(maker, "/v1/vector_stores")
        assert (store["name"], store["headrace"]["access"]) == ("Waters", {"users": ["mia"], "groups": []})
        field = shown.page.ask("Runtime.evaluate", expression="document.querySelector('[webkitdirectory]')")["result"]
        shown.page.ask("DOM.setFileInputFiles", files=[str(tmp_path / "deep")], objectId=field["objectId"])
        shown.there(".documents [role=alert]", "deep/run.exe")
        shown.there(".sent li", "nothing.txt")
        shown.there(".sent .error", EN["empty"])
        shown.gone(".documents progress")
        shown.there(".documents li", "deep/er/lake.txt")
        paths = {each["attributes"]["path"] for each in listed(maker, f"/v1/vector_stores/{store['id']}/files")}
        assert paths == {"deep/sea.md", "deep/er/lake.txt"}
        shown.page.evaluate("""(() => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File(["Rain falls."], "rain.txt"));
          for (const type of ['dragover', 'drop'])
            document.querySelector('.documents').dispatchEvent(
              new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
        })()""")
        shown.there(".documents li", "rain.txt")
        assert shown.count(".composer .file") == 0, "the chat behind takes no file"
        shown.click("[aria-label='Delete “rain.txt”']")
        press(shown, ".sure", "Delete")
        shown.gone("[aria-label='Delete “rain.txt”']")
        assert {each["filename"] for each in listed(maker, "/v1/files")} == {"sea.md", "lake.txt"}
        press(shown, ".documents", EN["toList"])
        press(shown, ".library li", "Delete")
        shown.there(".sure", EN["sureCollection"])
        press(shown, ".sure", "Delete")
        shown.there(".library", EN["noCollections"])
        assert (listed(maker, "/v1/vector_stores"), listed(maker, "/v1/files")) == ([], [])
        shown.page.settle()
        assert shown.page.complaints == []


def test_an_assistant_is_made_asked_changed_and_deleted(maker: World) -> None:
    store = maker.http.post("/v1/vector_stores", json={"name": "Waters"}).json()["id"]
    prompt = maker.http.post("/v1/prompts", json={"name": "role", "text": "You are {{who}}."}).json()["id"]
    with maker.page() as shown:
        open_library(shown, "assistants")
        shown.there(".library", EN["noAssistants"])
        press(shown, ".library", EN["makeAssistant"])
        fill(shown, "name", "docs")
        fill(shown, "description", "Knows the <b>waters</b>.")
        fill(shown, "starters", "x" * 201)
        press(shown, ".library", EN["save"])
        shown.there("dialog .entry .error", "200 characters")
        assert shown.page.evaluate("document.activeElement.name") == "starters"
        fill(shown, "starters", "How deep is it?\n\nHow wide?")
        press(shown, ".library", EN["save"])
        shown.there("dialog [role=alert]", "has this name")
        fill(shown, "name", "waters")
        shown.click("dialog [name=vector_store_ids]")
        shown.page.choose("dialog [name=prompt]", prompt)
        fill(shown, "variable who", "a captain")
        press(shown, ".library", EN["save"])
        shown.there(".library li", "Knows the <b>waters</b>.")
        [made] = listed(maker, "/v1/assistants")
        assert made["starters"] == ["How deep is it?", "How wide?"]
        assert (made["vector_store_ids"], made["prompt"]["id"]) == ([store], prompt)
        assert made["prompt"]["variables"] == {"who": "a captain"}
        assert made["headrace"]["access"] == {"users": ["mia"], "groups": []}
        kept = {"model": "small", "instructions": "Be brief.", "temperature": 0.5, "max_tokens": 7}
        assert maker.http.post(f"/v1/assistants/{made['id']}/versions", json=kept).status_code == 200
        press(shown, ".library nav", EN["prompts"])
        press(shown, ".library nav", EN["assistants"])
        press(shown, ".library li", EN["change"])
        fill(shown, "instructions", "Be exact.")
        shown.page.choose("dialog [name=access]", "all")
        press(shown, ".library", EN["save"])
        shown.there(".library li", "waters")
        [made] = listed(maker, "/v1/assistants")
        changed = (made["instructions"], made["temperature"], made["max_tokens"], made["headrace"]["access"])
        assert changed == ("Be exact.", 0.5, 7, None), "what the form does not show stays"
        press(shown, ".library li", EN["ask"])
        shown.gone("dialog")
        shown.page.until("document.querySelector('.chooser select').value === 'waters'")
        open_library(shown, "assistants")
        press(shown, ".library li", "Delete")
        shown.there(".sure", EN["sureAssistant"])
        press(shown, ".sure", "Delete")
        shown.there(".library", EN["noAssistants"])
        shown.there(".chooser option[value=small]")
        shown.page.until("!document.querySelector('.chooser option[value=waters]')")
        shown.page.settle()
        assert [each for each in shown.page.complaints if "400" not in each and "409" not in each] == []


@layouts
def test_the_library_is_accessible(maker: World, axe: str, width: int, language: str) -> None:
    texts = said(language)
    upload = {"file": ("sea.txt", b"Deep.")}
    file = maker.http.post("/v1/files", files=upload, data={"purpose": "assistants"}).json()["id"]
    maker.http.post("/v1/vector_stores", json={"name": "Waters", "file_ids": [file]}).raise_for_status()
    maker.http.post("/v1/prompts", json={"name": "role", "text": "You are {{who}}."}).raise_for_status()
    maker.http.post("/v1/assistants", json={"name": "waters", "model": "small"}).raise_for_status()
    with maker.page(width=width, language=language) as shown:
        if width == 360:
            shown.click("header .narrow")
            shown.there(".side.open")
        for kind, make in (
            ("assistants", "makeAssistant"),
            ("prompts", "makePrompt"),
            ("collections", "makeCollection"),
        ):
            if kind == "assistants":
                open_library(shown, kind, language)
            press(shown, ".library nav", texts[kind])
            shown.there(".library li")
            clean(shown, axe)
            shown.page.evaluate("[...document.querySelectorAll('.library li button')].at(-1).click()")
            shown.there(".sure")
            clean(shown, axe)
            press(shown, ".library", texts[make])
            press(shown, ".library form", texts["save"])
            shown.there("[aria-invalid=true]")
            clean(shown, axe)
            shown.page.evaluate("document.querySelector('.library form .buttons button').click()")
            shown.gone(".library form")
        press(shown, ".library li", texts["open"])
        shown.there(".documents li", "sea.txt")
        clean(shown, axe)
