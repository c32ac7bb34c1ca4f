"""Adapters that vLLM loads at runtime: what its routes are asked, and when."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from serving.engines.adapters.errors import AdapterRejected, StartFailed
from serving.engines.adapters.runtime import RuntimeAdapters
from serving.engines.replica import EngineServer


class Vllm(ThreadingHTTPServer):
    """Loads and unloads adapters, as vLLM's routes do."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.loaded: dict[str, str] = {}
        self.asked: list[str] = []
        self.says: dict[str, Any] = {}


class Handler(BaseHTTPRequestHandler):
    server: Vllm

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, answer = self._answer(self.path, body) if self.headers["Authorization"] == "Bearer k" else (401, "key")
        said = answer.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def _answer(self, path: str, body: dict[str, Any]) -> tuple[int, str]:
        name = body.get("lora_name", body.get("model"))
        self.server.asked.append(f"{path.removeprefix('/v1/')} {name}")
        if path == "/v1/load_lora_adapter":
            if not Path(body["lora_path"]).is_dir():
                return 400, '{"message": "No adapter found"}'
            self.server.loaded[name] = body["lora_path"]
        elif path == "/v1/unload_lora_adapter":
            if self.server.loaded.pop(name, None) is None:
                return 404, '{"message": "cannot be found"}'
        else:
            probability = self.server.says.get(name, -0.5)
            return 200, json.dumps({"choices": [{"logprobs": {"token_logprobs": [probability]}}]})
        return 200, "Success"

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def vllm() -> Iterator[Vllm]:
    with Vllm() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def adapters(vllm: Vllm) -> RuntimeAdapters:
    return RuntimeAdapters(EngineServer(f"http://127.0.0.1:{vllm.server_port}", "k"))


def offered(adapters: RuntimeAdapters, *names: str) -> list[bool]:
    found = []
    for name in names:
        with adapters.hold(name) as loaded:
            found.append(loaded)
    return found


def test_an_adapter_is_unloaded_after_its_last_lease(vllm: Vllm, adapters: RuntimeAdapters, tmp_path: Path) -> None:
    adapters.serve({"a": tmp_path, "b": tmp_path})
    assert vllm.asked == ["load_lora_adapter a", "completions a", "load_lora_adapter b", "completions b"]
    assert offered(adapters, "a", "b", "c") == [True, True, False]
    with adapters.hold("a") as loaded:
        assert loaded
        adapters.serve({"b": tmp_path})
        adapters.unload_unused()
        assert offered(adapters, "a", "b") == [False, True], "it gets no new leases"
        assert vllm.loaded.keys() == {"a", "b"}
        assert adapters.leaving == {"a"}
    adapters.unload_unused()
    adapters.unload_unused()
    assert vllm.loaded.keys() == {"b"}
    assert vllm.asked.count("unload_lora_adapter a") == 1
    assert adapters.leaving == set()


def test_an_adapter_that_comes_back_before_it_was_unloaded_stays(
    vllm: Vllm, adapters: RuntimeAdapters, tmp_path: Path
) -> None:
    adapters.serve({"a": tmp_path})
    adapters.serve({})
    adapters.serve({"a": tmp_path})
    adapters.unload_unused()
    assert offered(adapters, "a") == [True]
    assert vllm.asked.count("load_lora_adapter a") == 1


@pytest.mark.parametrize("probability", [float("nan"), float("-inf"), None])
def test_an_adapter_whose_answers_are_no_numbers_is_refused(
    vllm: Vllm, adapters: RuntimeAdapters, tmp_path: Path, probability: float | None
) -> None:
    vllm.says = {"b": probability}
    with pytest.raises(AdapterRejected, match="its answers are not finite numbers") as caught:
        adapters.serve({"a": tmp_path, "b": tmp_path, "c": tmp_path})
    assert caught.value.adapter == "b"
    assert vllm.loaded.keys() == {"a"}
    adapters.serve({"a": tmp_path, "c": tmp_path})
    assert offered(adapters, "a", "b", "c") == [True, False, True]


def test_a_rejected_adapter_is_reported_with_vllms_reason(adapters: RuntimeAdapters, tmp_path: Path) -> None:
    with pytest.raises(AdapterRejected, match=r"vLLM: .*No adapter found"):
        adapters.serve({"a": tmp_path / "gone"})
    assert offered(adapters, "a") == [False]


def test_a_vllm_that_does_not_answer_rejects_nothing(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="vLLM did not answer"):
        RuntimeAdapters(EngineServer("http://127.0.0.1:9", "k")).serve({"a": tmp_path})
