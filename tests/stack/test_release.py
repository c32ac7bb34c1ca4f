"""The session's stack came up on the data of the last released version, which is still available."""

from __future__ import annotations

import json
from pathlib import Path

from tests.stack.release import LAST
from tests.stacks.stack import Stack
from tools import fixture


def test_data_of_the_last_release_is_available_after_an_upgrade(stack: Stack) -> None:
    assert stack.key == fixture.SECRETS["secrets/api_key"], "the key is the one that users have"
    uploaded = json.loads((LAST / "uploaded.json").read_text())
    question = {"role": "user", "content": "When is the upper lock of Arvel emptied?"}
    with stack.client() as client:
        assert client.get(f"/v1/files/{uploaded['id']}/content").text == uploaded["text"]
        answer = client.post("/v1/chat/completions", json={"model": "docs", "messages": [question]}).json()
    citations = answer["choices"][0]["message"]["headrace"]["citations"]
    assert "canal.md" in {c["file_name"] for c in citations}


def test_the_fixture_contains_no_host_name() -> None:
    for file in Path(LAST).rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            for path in (str(fixture.CHECKOUT), str(Path.home()), "/home/", "/tmp/", ".cache"):
                assert path.encode() not in content, f"{file} names {path}"
