import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.providers.process import ProcessProvider
from infra.providers.session import Session
from infra.resources.problem import Problem

Web = dict[str, Any]


def test_create_read_update_delete(web: Web, said: Any) -> None:
    id, outputs = ProcessProvider().create(web, said.task)
    assert httpx.get(web["ready"], timeout=60, trust_env=False).status_code == 200
    assert ProcessProvider().read(id, outputs).outputs["session"] == outputs["session"]
    [settings] = web["files"]
    assert Path(settings).read_text() == "one"

    news = {**web, "files": {settings: "two"}}
    assert ProcessProvider().diff(outputs, news).changed == ("files",)
    updated = ProcessProvider().update(id, outputs, news, said.task)
    assert Path(settings).read_text() == "two"
    assert updated["session"] != outputs["session"]
    assert httpx.get(web["ready"], timeout=60, trust_env=False).status_code == 200

    ProcessProvider().delete(id, updated, said.task)
    assert not Path(settings).exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(web["ready"], timeout=60, trust_env=False)
    ProcessProvider().delete(id, updated, said.task)


def test_create_adopts_a_running_process(web: Web, said: Any) -> None:
    first = ProcessProvider().create(web, said.task)
    assert ProcessProvider().create(web, said.task) == first


def test_a_dead_process_is_restarted(web: Web, said: Any) -> None:
    id, outputs = ProcessProvider().create(web, said.task)
    os.kill(int(outputs["session"].split(":")[0]), signal.SIGKILL)
    while Session(Path(web["record"])).alive:
        time.sleep(0.01)
    assert ProcessProvider().read(id, outputs).id is None
    assert ProcessProvider().create(web, said.task)[1]["session"] != outputs["session"]


def test_an_unchanged_process_has_no_difference(web: Web, said: Any) -> None:
    outputs = ProcessProvider().create(web, said.task)[1]
    assert ProcessProvider().diff(outputs, web).changed == ()


def test_a_failed_start_shows_the_end_of_the_log(web: Web, said: Any) -> None:
    web["argv"] = [sys.executable, "-c", "print('no licence'); raise SystemExit(1)"]
    with pytest.raises(Problem, match=r"web exited during its start; its log .*says:\n    no licence"):
        ProcessProvider().create(web, said.task)
    assert not Session(Path(web["record"])).folder.exists()
