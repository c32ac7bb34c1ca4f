"""The life of a stack, beside the session's own: changes in place, secrets, interruption, a clean end.

The tests follow one another on one stack, in the order of this file.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from infra.providers.session import Session, Stat
from infra.targets.layout import CHECKOUT
from infra.targets.preflight import RECORDS
from tests.stack import Stack, own_stack
from tests.wait import eventually

REMOTE_KEY = "sk-planted-7f3a9c51e2"
KILL_POINTS = ("ray creating", "exporter creating", "application creating", "knowledge-documents creating")
SEED = int(os.environ.get("HEADRACE_SEED", "1"))


PRINTED: list[str] = []
"""What the commands that made secrets said."""


def temporary() -> set[str]:
    """What a Ray that does not keep to its own folder leaves in the common one."""
    return {p.name for pattern in ("pymp-*", "haproxy-serve", "ray*") for p in Path("/tmp").glob(pattern)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The life stack's documents."""
    root = tmp_path_factory.mktemp("life")
    (root / "headrace").mkdir()
    shutil.copy(CHECKOUT / "README.md", root / "headrace")
    documents = root / "documents"
    documents.mkdir()
    (documents / "tides.md").write_text(
        "# Tides\n\nThe harbour gate of Brenna opens at the fourth hour after low tide.\n"
    )
    (documents / "bread.md").write_text("# Bread\n\nThe bakery of Brenna bakes rye bread on Mondays and Thursdays.\n")
    return documents


@pytest.fixture(scope="module")
def before_up() -> set[str]:
    return temporary()


@pytest.fixture(scope="module")
def life(stack, folder, before_up) -> Iterator[Stack]:
    with own_stack("test-life", folder) as up:
        yield up


def members(stack: Stack) -> dict[int, Stat]:
    return {m.pid: m for r in RECORDS for m in Session(stack.layout.record(r)).members()}


def replicas(stack: Stack) -> set[int]:
    """Process ids of Serve's replicas, its controller and proxies."""
    return {pid for pid in members(stack) if command(pid).startswith(("ray::Serve", "ray::Proxy", "ray::HAProxy"))}


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def collection(stack: Stack) -> str:
    with stack.client() as client:
        return next(s["id"] for s in client.get("/v1/vector_stores").json()["data"] if s["name"] == "documents")


def files(stack: Stack) -> dict[str, str]:
    """The file ids of the collection `documents`, by file name."""
    with stack.client() as client:
        found = client.get(f"/v1/vector_stores/{collection(stack)}/files", params={"limit": 100}).json()["data"]
    return {Path(f["attributes"]["path"]).name: f["id"] for f in found if f["attributes"]}


def search(stack: Stack, query: str) -> str:
    with stack.client() as client:
        answer = client.post(f"/v1/vector_stores/{collection(stack)}/search", json={"query": query}).json()
    return " ".join(part["text"] for hit in answer["data"] for part in hit["content"])


def gone(stack: Stack, query: str, text: str) -> None:
    """The index forgets in the background."""
    eventually(lambda: text not in search(stack, query), f"'{text}' is found no more")


def chat(stack: Stack, model: str = "plain") -> httpx.Response:
    with stack.client() as client:
        messages = [{"role": "user", "content": "Name a colour."}]
        return client.post("/v1/chat/completions", json={"model": model, "messages": messages, "max_tokens": 4})


def test_nothing_changes_by_itself(life):
    before, serving = members(life), replicas(life)
    life.run("preview", "--expect-no-changes")
    said = life.run("up")
    assert "12 unchanged" in said
    assert "> " not in said, "a stack that ran is asked no first question"
    after = members(life)
    assert serving == replicas(life)
    assert serving
    # Ray itself ends workers that have nothing to do.
    lasting = before.keys() & after.keys()
    assert {p: after[p].started for p in lasting} == {p: before[p].started for p in lasting}
    assert all(Session(life.layout.record(record)).alive for record in RECORDS)


def test_the_dashboards_are_there_without_grafana(life):
    url = f"http://127.0.0.1:{life.settings()['ports']['status']}/status"
    assert url in life.run("outputs")
    asked = f"{url}/api/overview/engines-missing"
    eventually(lambda: httpx.get(asked, timeout=30).json().get("series"), "the page shows the stack's engines")


def test_an_edit_reingests_one_document(life, folder):
    before = files(life)
    (folder / "tides.md").write_text("# Tides\n\nThe harbour gate of Brenna opens at the ninth hour, says the heron.\n")
    (folder / "salt.md").write_text("# Salt\n\nThe salt works of Brenna close in the month of frost.\n")
    life.run("up")
    after = files(life)
    assert after.keys() == {"tides.md", "bread.md", "salt.md"}
    assert after["bread.md"] == before["bread.md"]
    assert after["tides.md"] != before["tides.md"]
    assert "ninth hour" in search(life, "When does the harbour gate open?")
    gone(life, "When does the harbour gate open?", "fourth hour")
    assert "month of frost" in search(life, "When do the salt works close?")
    with life.client() as client:
        assert client.get(f"/v1/files/{before['tides.md']}").status_code == 404

    (folder / "salt.md").unlink()
    life.run("up")
    assert files(life) == {k: v for k, v in after.items() if k != "salt.md"}
    gone(life, "When do the salt works close?", "month of frost")


@contextmanager
def streaming(stack: Stack) -> Iterator[list[str]]:
    """A long stream under way; its text is complete when the context ends."""
    text: list[str] = []
    started = threading.Event()
    messages = [{"role": "user", "content": "Write a long story about a river."}]
    body = {"model": "plain", "messages": messages, "max_tokens": 700, "stream": True, "seed": 3}

    def read() -> None:
        with stack.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as r:
            for part in r.iter_text():
                text.append(part)
                started.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert started.wait(60)
    yield text
    thread.join(180)


def test_a_prompt_changes_in_place_while_a_stream_runs(life):
    settings = life.settings()
    before, tokens = replicas(life), chat(life).json()["usage"]["prompt_tokens"]
    [plain] = [a for a in settings["assistants"] if a["name"] == "plain"]
    plain["prompt"] = "Be brief, and be kind to the heron of Brenna, who reads all that you write. " * 3
    life.configure(**settings)
    with streaming(life) as text:
        life.run("up")
        assert chat(life).json()["usage"]["prompt_tokens"] > tokens + 20
    assert "".join(text).endswith("data: [DONE]\n\n")
    assert replicas(life) == before


def test_a_key_is_replaced_without_an_outage(life):
    """And a remote model comes with a key of its own, which is planted for the next test."""
    settings = life.settings()
    settings["models"].append({"name": "far", "engine": "remote", "url": "http://127.0.0.1:9/v1"})
    life.configure(**settings)
    life.run("pulumi", "config", "set", "--secret", "--path", "headrace:models[1].api_key", REMOTE_KEY)
    ray = Session(life.layout.record("ray")).id
    (life.layout.secrets / "api_key").unlink()
    with streaming(life) as text:
        PRINTED.append(life.run("up"))
    assert "".join(text).endswith("data: [DONE]\n\n")
    renewed = life.outputs()
    assert renewed.key != life.key
    assert chat(renewed).status_code == 200
    assert chat(life).status_code == 401
    assert Session(life.layout.record("ray")).id == ray
    (life.layout.state / "old_key").write_text(life.key)


def needles(stack: Stack) -> dict[str, bytes]:
    read = {
        "API key": stack.layout.secrets / "api_key",
        "former API key": stack.layout.state / "old_key",
        "key secret": stack.layout.data / "key_secret",
        "Ray token": stack.layout.secrets / "ray_token",
        "remote key": stack.layout.secrets / "model-far-api-key",
    }
    found = {name: path.read_bytes().strip() for name, path in read.items()}
    assert found["remote key"] == REMOTE_KEY.encode()
    assert all(len(secret) > 20 for secret in found.values())
    return found


def _files(folder: Path) -> list[Path]:
    """All below a folder in which files come and go."""
    return [Path(at) / name for at, _, names in os.walk(folder) for name in names]


def haystacks(stack: Stack) -> Iterator[tuple[str, bytes]]:
    """Everything that somebody may read who must not read secrets."""
    layout, ours = stack.layout, {"api_key", "old_key", "key_secret", "ray_token", "model-far-api-key"}
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


def test_secrets_stand_nowhere_but_in_their_files(life):
    looked_at = [*(("up", text.encode()) for text in PRINTED), *haystacks(life)]
    assert len(looked_at) > 50
    assert any("logs/serve" in where for where, _ in looked_at)
    found = {(what, where) for what, secret in needles(life).items() for where, text in looked_at if secret in text}
    assert found == set()


@contextmanager
def foreign() -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like one of Ray's, and is not ours."""
    process = subprocess.Popen(["bash", "-c", "exec -a ray::IDLE sleep 1000"], start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_down_leaves_nothing_but_data(life, stack, before_up):
    life = life.outputs()
    with life.client() as client:
        kept = client.post("/v1/files", files={"file": ("kept.md", b"# Kept\n")}, data={"purpose": "assistants"}).json()
    (life.layout.data / "kept").write_text(kept["id"])
    before, port_numbers = members(life), life.settings()["ports"].values()
    base = int(Session(life.layout.record("ray")).spec["base"])
    shared: set[str] = set()
    for pid in before:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
            shared.update(w for w in Path(f"/proc/{pid}/maps").read_text().split() if w.startswith("/dev/shm/"))
    (life.layout.state / "old_key").unlink()
    with foreign() as other:
        said = life.run("down")
        assert other.poll() is None
        assert chat(stack).status_code == 200, "the other stack goes on"
    assert "Nothing of the stack runs any more" in said
    left = {p for p, m in before.items() if (now := Stat.of(p)) and now.started == m.started}
    assert left == set()
    listening = {c.laddr[1] for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert listening & {*port_numbers, *range(base, base + 1000)} == set()
    assert [p for p in shared if Path(p).exists()] == []
    assert not life.layout.temp.exists()
    assert temporary() <= before_up
    pulumis = {"lock", "encryptionsalt", life.file.name}
    assert {p.name for p in life.layout.state.iterdir()} - pulumis == {"data"}
    assert "Nothing of the stack runs" in life.run("down"), "down again is no error"


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


def comes_up_again(stack: Stack, point: str) -> None:
    interrupt(stack, point)
    stack.run("up")
    up = stack.outputs()
    kept = (stack.layout.data / "kept").read_text()
    with up.client() as client:
        assert client.get(f"/v1/files/{kept}/content").content == b"# Kept\n"
    assert chat(up).status_code == 200
    assert "ninth hour" in search(up, "When does the harbour gate open?")
    assert len(files(up)) == 2


def test_an_interrupted_up_is_run_again_and_data_is_there(life):
    comes_up_again(life, random.Random(SEED).choice(KILL_POINTS[:3]))


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("point", KILL_POINTS)
def test_up_may_be_interrupted_anywhere(life, point):
    life.run("down")
    if point.startswith("knowledge"):
        shutil.rmtree(life.layout.data / "collections", ignore_errors=True)
    comes_up_again(life, point)


def test_mistakes_are_said_before_anything_runs(life, stack):
    """Through Pulumi itself: every mistake at once, in plain text."""
    broken = Stack("test-broken")
    settings = life.settings() | {"ports": {**life.settings()["ports"], "api": stack.settings()["ports"]["api"]}}
    settings["models"] = [{**settings["models"][0], "source": "file:///none.gguf", "memory_bytes": 10**15}]
    broken.file.write_text(yaml.safe_dump({"config": {f"headrace:{k}": v for k, v in settings.items()}}))
    try:
        said = broken.run("preview", "--non-interactive", check=False)
        assert "the configuration has" in said
        for part in ("headrace:ports.api", "headrace:models[0].source: there is no file", "GB of memory"):
            assert part in said
        assert "Traceback" not in said
    finally:
        broken.run("purge", check=False)
        broken.file.unlink()
