"""The end of a stack's life: it is renewed, broken and healed, and ended, and leaves nothing but data.

The tests follow one another, after all others that ask the stack; one `up` carries several changes.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from infra.layout import CHECKOUT
from infra.providers.session import Session, Stat
from monitoring.alert_evidence import INJECTED
from tests.stack.kills import AGENT, kill_under_load
from tests.stack.life import chat, command, files, gone, members, search, streaming
from tests.stacks.load import Load, healed, nothing_lost
from tests.stacks.stack import Stack, own_stack

REMOTE_KEY = "sk-planted-7f3a9c51e2"
KILL_POINTS = ("ray creating", "exporter creating", "application creating", "knowledge-documents creating")
QUESTION = "When does the harbour gate open?"
SEED = int(os.environ.get("HEADRACE_SEED", "1"))


@dataclass(frozen=True)
class Renewed:
    """What an `up` came from that replaces the key, brings a remote model with a key of its own, takes a document
    away and starts the exporter again, which was killed under load."""

    stack: Stack
    """With its new key."""
    old_key: str
    ray: str
    """Which Ray ran."""
    files: dict[str, str]
    load: Load
    text: str
    """Of a stream that was under way."""
    printed: str


@pytest.fixture(scope="module")
def renewed(stack, documents, watch) -> Renewed:
    before, ray = files(stack), Session(stack.layout.record("ray")).id
    load = kill_under_load(stack, watch, "exporter", ["serving.telemetry.exporter"], INJECTED["the exporter is killed"])
    (documents / "salt.md").unlink(missing_ok=True)  # it is there after test_life.py
    models = [*stack.settings()["models"], {"name": "far", "engine": "remote", "url": "http://127.0.0.1:9/v1"}]
    stack.change(models=models)
    path = f"headrace:models[{len(models) - 1}].api_key"
    stack.run("pulumi", "config", "set", "--secret", "--path", path, REMOTE_KEY)
    (stack.layout.secrets / "api_key").unlink()
    with streaming(stack) as text:
        printed = stack.run("up")
    return Renewed(stack.outputs(), stack.key, ray, before, load, "".join(text), printed)


def test_a_key_is_replaced_without_an_outage(stack, renewed):
    assert renewed.text.endswith("data: [DONE]\n\n")
    assert renewed.stack.key != renewed.old_key
    assert chat(renewed.stack).status_code == 200
    assert chat(stack).status_code == 401
    assert Session(stack.layout.record("ray")).id == renewed.ray


def test_a_deleted_document_is_removed_from_the_index(renewed):
    assert "salt.md" in renewed.files
    assert files(renewed.stack) == {k: v for k, v in renewed.files.items() if k != "salt.md"}
    gone(renewed.stack, "When do the salt works close?", "month of frost")


def test_up_restarts_dead_processes(renewed):
    assert Session(renewed.stack.layout.record("exporter")).alive
    assert healed(renewed.stack, 60)
    assert renewed.load.problems == []
    nothing_lost(renewed.stack, renewed.load)


def needles(renewed: Renewed) -> dict[str, bytes]:
    layout = renewed.stack.layout
    read = {
        "API key": layout.secrets / "api_key",
        "key secret": layout.data / "key_secret",
        "Ray token": layout.secrets / "ray_token",
        "remote key": layout.secrets / "model-far-api-key",
    }
    found = {name: path.read_bytes().strip() for name, path in read.items()}
    assert found["remote key"] == REMOTE_KEY.encode()
    found["former API key"] = renewed.old_key.encode()
    assert all(len(secret) > 20 for secret in found.values())
    return found


def _files(folder: Path) -> list[Path]:
    """Returns all files below a folder in which files come and go."""
    return [Path(at) / name for at, _, names in os.walk(folder) for name in names]


def haystacks(stack: Stack) -> Iterator[tuple[str, bytes]]:
    """Yields all texts that are readable for people who must not read secrets."""
    layout, ours = stack.layout, {"api_key", "key_secret", "ray_token", "model-far-api-key"}
    backend = CHECKOUT / ".headrace/pulumi/.pulumi"
    states = [file for file in _files(backend) if stack.name in str(file)]
    for file in [*_files(layout.state), *_files(layout.temp), *states, stack.file]:
        with suppress(OSError):  # a running stack removes what it no longer needs
            if file.is_file() and file.name not in ours:
                yield str(file), file.read_bytes()
    for pid in members(stack):
        for what in ("cmdline", "environ"):
            try:
                yield f"{what} of {command(pid)[:60]}", Path(f"/proc/{pid}/{what}").read_bytes()
            except OSError:
                continue
    yield "exported state", stack.run("pulumi", "stack", "export").encode()
    yield "output", stack.run("pulumi", "stack", "output").encode()
    token = (layout.secrets / "ray_token").read_text()
    dashboard = f"http://127.0.0.1:{stack.settings()['ports']['dashboard']}"
    for path in ("/api/serve/applications/", "/api/version", "/nodes?view=summary", "/api/jobs/"):
        yield path, httpx.get(f"{dashboard}{path}", headers={"Authorization": f"Bearer {token}"}, timeout=30).content


def test_secrets_are_only_in_their_files(renewed):
    looked_at = [("up", renewed.printed.encode()), *haystacks(renewed.stack)]
    assert len(looked_at) > 50
    assert any("logs/serve" in where for where, _ in looked_at)
    found = {(what, where) for what, secret in needles(renewed).items() for where, text in looked_at if secret in text}
    assert found == set()


def interrupt(stack: Stack, point: str) -> None:
    """Starts `up` and kills all of it as soon as it says that it is at `point`."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "tools.stack", "up"],
        cwd=CHECKOUT,
        env={**os.environ, "STACK": stack.name},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    seen = []
    for line in process.stdout:
        seen.append(line)
        if point in line:
            break
    else:
        raise AssertionError(f"up never says '{point}':\n{''.join(seen)[-3000:]}")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.full
def test_an_interrupted_up_is_resumed_without_loss_of_data(renewed, watch):
    """The stack's Ray was killed under load before, which fires alerts."""
    stack, before = renewed.stack, files(renewed.stack)
    found = search(stack, QUESTION)
    assert "harbour gate" in found
    alerts = INJECTED["Ray's control service and its agent are killed"]
    load = kill_under_load(stack, watch, "ray", ["gcs_server", AGENT], alerts)
    interrupt(stack, random.Random(SEED).choice((KILL_POINTS[0], KILL_POINTS[2])))
    stack.run("up")
    assert healed(stack, 60)
    assert load.problems == []
    nothing_lost(stack, load)
    assert files(stack) == before
    assert search(stack, QUESTION) == found


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("point", KILL_POINTS)
def test_an_up_interrupted_at_any_point_is_resumed(stack, point):
    up = stack.outputs()
    with up.client() as client:
        kept = client.post("/v1/files", files={"file": ("kept.md", b"# Kept\n")}, data={"purpose": "assistants"}).json()
    before = files(up)
    stack.run("down")
    if point.startswith("knowledge"):
        shutil.rmtree(stack.layout.data / "collections", ignore_errors=True)
    interrupt(stack, point)
    stack.run("up")
    up = stack.outputs()
    with up.client() as client:
        assert client.get(f"/v1/files/{kept['id']}/content").content == b"# Kept\n"
    assert chat(up).status_code == 200
    assert files(up).keys() == before.keys()
    assert "hour" in search(up, QUESTION)


@pytest.mark.soak
def test_a_second_stack_is_created_and_removed_without_effect_on_the_first(stack, documents):
    stack = stack.outputs()
    with own_stack("test-beside", documents) as beside:
        assert chat(beside).status_code == 200
        beside.run("down")
        assert chat(stack).status_code == 200


@contextmanager
def foreign() -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like one of Ray's, but is not of the stack."""
    process = subprocess.Popen(["bash", "-c", "exec -a ray::IDLE sleep 1000"], start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def in_common_folder(stack: Stack) -> set[str]:
    """What its processes have open or name in /tmp outside the stack's own temporary folder, for which Ray, Serve and
    Python's multiprocessing have fixed names there.

    What lies in /tmp after `down` may be of any other Ray on the host, so that only this can be asked.
    """
    named: set[str] = set()
    for pid in members(stack):
        with suppress(psutil.Error):  # it has ended since
            process = psutil.Process(pid)
            named |= {process.cwd(), *command(pid).replace("=", " ").split()}
            named |= {file.path for file in process.open_files()}
            named |= {socket.laddr for socket in process.net_connections("unix")}
    common = tuple(f"/tmp/{name}" for name in ("pymp-", "haproxy-serve", "ray"))
    return {path for path in named if path.startswith(common)}


def test_down_leaves_only_data(stack, documents):
    stack = stack.outputs()
    before, port_numbers = members(stack), stack.settings()["ports"].values()
    base = int(Session(stack.layout.record("ray")).spec["base"])
    shared: set[str] = set()
    for pid in before:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
            shared.update(w for w in Path(f"/proc/{pid}/maps").read_text().split() if w.startswith("/dev/shm/"))
    assert in_common_folder(stack) == set()
    with foreign() as other:
        said = stack.run("down")
        assert other.poll() is None
    assert "The stack is stopped" in said
    left = {p for p, m in before.items() if (now := Stat.read(p)) and now.started == m.started}
    assert left == set()
    listening = {c.laddr[1] for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert listening & {*port_numbers, *range(base, base + 1000)} == set()
    assert [p for p in shared if Path(p).exists()] == []
    assert not stack.layout.temp.exists()
    pulumis = {"lock", "encryptionsalt", stack.file.name}
    assert {p.name for p in stack.layout.state.iterdir()} - pulumis == {"data"}
    assert "The stack is stopped" in stack.run("down"), "down again is no error"


def test_mistakes_are_reported_before_anything_runs(stack):
    """Pulumi reports every mistake at once, in plain text."""
    written, settings = stack.file.read_text(), stack.settings()
    ticker = next(m["url"] for m in settings["models"] if m["name"] == "ticker")
    model = {**settings["models"][0], "source": "file:///none.gguf", "memory_bytes": 10**15}
    stack.change(models=[model], ports={**settings["ports"], "api": urlsplit(ticker).port})
    said = stack.run("preview", "--non-interactive", check=False)
    stack.file.write_text(written)
    assert "the configuration has" in said
    for part in ("headrace:ports.api", "headrace:models[0].source: there is no file", "GB of memory"):
        assert part in said
    assert "Traceback" not in said
