"""A Ray that ends while it starts, as Ray does where its node registers too late, is started again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from infra.providers import ray_head
from infra.providers.ray_head import RayHead
from infra.providers.session import Session
from infra.resources.problem import Ended, Problem
from infra.resources.resource import Task
from tests.servers.process import free_port

RAY = """#!{python}
import os, pathlib, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/api/serve") and begun() <= {dies}:
            os._exit(1)
        self.send_response({status} if self.path.startswith("/api/serve") else 200)
        self.end_headers()
        self.wfile.write(b"what Serve says")

def begun():
    return len(pathlib.Path(__file__).with_name("starts").read_text())

with pathlib.Path(__file__).with_name("starts").open("a") as starts:
    starts.write("x")
if begun() <= {ends}:
    sys.exit("The current node timed out during startup.")
(port,) = (a.partition("=")[2] for a in sys.argv if a.startswith("--dashboard-port="))
HTTPServer(("127.0.0.1", int(port)), Answers).serve_forever()
"""


def inputs(folder: Path, ends: int = 0, dies: int = 0, status: int = 200) -> dict[str, Any]:
    ray = folder / "ray"
    ray.write_text(RAY.format(python=sys.executable, ends=ends, dies=dies, status=status))
    ray.chmod(0o755)
    (folder / "token").write_text("secret")
    return {
        "ray": [str(ray)],
        "version": "0",
        "record": str(folder / "run"),
        "log": str(folder / "log"),
        "temp": str(folder / "temp"),
        "token_path": str(folder / "token"),
        "dashboard_port": free_port(),
        "inner_base": 0,
        "cpus": 1,
        "object_store_bytes": 1,
        "ports": {},
    }


def starts(folder: Path) -> int:
    return len((folder / "starts").read_text())


@pytest.mark.parametrize("when", [{"ends": 2}, {"dies": 2}], ids=["before its dashboard answers", "after that"])
def test_a_failed_start_of_ray_is_retried(tmp_path: Path, when: dict[str, int]) -> None:
    given = inputs(tmp_path, **when)
    said: list[str] = []
    head = RayHead()
    id, _ = head.create(given, Task(said.append))
    try:
        assert starts(tmp_path) == 3
        assert Session(Path(id)).alive
        assert "Ray exited during its start; starting it again" in said
    finally:
        head.delete(id, given, Task(said.append))


@pytest.mark.parametrize("when", [{"ends": 9}, {"dies": 9}], ids=["before its dashboard answers", "after that"])
def test_ray_is_started_three_times_at_most(tmp_path: Path, when: dict[str, int]) -> None:
    given = inputs(tmp_path, **when)
    words = "timed out during startup" if "ends" in when else ""
    with pytest.raises(Ended, match=f"(?s)Ray exited during its start; its log .*{words}"):
        RayHead().create(given, Task(lambda words: None))
    assert starts(tmp_path) == 3
    assert not Session(Path(given["record"])).alive


def test_a_timeout_reports_serves_last_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_serve = ray_head._wait_serve_api

    def hasty(*given: Any) -> None:
        """Once Ray's dashboard answers, which a busy host may take its time for."""
        monkeypatch.setattr(ray_head, "READY_S", 1)
        of_serve(*given)

    monkeypatch.setattr(ray_head, "_wait_serve_api", hasty)
    given = inputs(tmp_path, status=500)
    with pytest.raises(Problem, match="is not ready after 1 s; its last answer: 500 what Serve says"):
        RayHead().create(given, Task(lambda words: None))
    assert starts(tmp_path) == 1
    assert not Session(Path(given["record"])).alive
