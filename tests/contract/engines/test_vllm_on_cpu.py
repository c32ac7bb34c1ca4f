"""The real vLLM, as its build for CPUs: what Headrace's engine `vllm` relies on.

`make soak` runs it: its environment takes 6 GB, and its start more than a minute of two processors.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from monitoring.external import EXTERNAL
from serving.config import AdapterBounds, Lora, VllmModel
from serving.engines import vllm
from serving.engines.adapters.runtime import ADAPTER_FILES
from serving.engines.source import resolve
from serving.store.objects.live_adapters import LiveAdapter, LiveSets
from serving.store.objects.places import Folder
from tests.contract.engines.adapters import artefacts_of, publish
from tests.contract.engines.test_vllm import GGUF, granted, group
from tests.wait import eventually
from tools import vllm_cpu

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800), pytest.mark.asyncio(loop_scope="module")]
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Oslo", "Bergen"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": WEATHER, "strict": True}}


@pytest.fixture(scope="module")
def program() -> Path:
    return vllm_cpu.installed_environment() / "bin"


@pytest.fixture(scope="module")
def weights(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    gguf = str(resolve(GGUF))
    convert = [str(program / "python"), str(Path(__file__).with_name("vllm_weights.py")), gguf, str(folder)]
    subprocess.run(convert, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return folder


@pytest.fixture(scope="module")
def sets(weights: Path) -> LiveSets:
    """A hub with one version: the adapter, again."""
    hub = weights / "hub"
    shutil.copytree(weights / "adapter", hub / "mver_1")
    return LiveSets(Folder(hub))


@pytest.fixture(scope="module")
def replica(program: Path, weights: Path, sets: LiveSets) -> Iterator[vllm.VllmReplica]:
    model = VllmModel(
        name="small",
        source=f"file://{weights}/model",
        device="cpu",
        cpus=1,
        dtype="float32",
        context=2048,
        max_num_seqs=4,
        enforce_eager=True,
        loras=(Lora(name="odd", source=f"file://{weights}/adapter"),),
        adapters=AdapterBounds(max=2),
        arguments=("--enable-auto-tool-choice", "--tool-call-parser=hermes"),
        environment={"HF_HUB_OFFLINE": "1"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{program}:{os.environ['PATH']}")
        made = vllm.VllmReplica(model, host="127.0.0.1", sets=sets)
    yield made
    made.close()


@contextlib.asynccontextmanager
async def client(replica: vllm.VllmReplica):
    lease = await granted(replica)
    headers = {"Authorization": f"Bearer {lease['key']}"}
    async with httpx.AsyncClient(base_url=lease["url"], headers=headers, timeout=300, trust_env=False) as made:
        yield made


async def chat(replica: vllm.VllmReplica, content: str, **options: Any) -> dict[str, Any]:
    body = {"model": "small", "messages": [{"role": "user", "content": content}], "temperature": 0, **options}
    async with client(replica) as c:
        response = await c.post("chat/completions", json=body)
    assert response.status_code == 200, response.text
    return response.json()


async def exposition(c: httpx.AsyncClient) -> str:
    return (await c.get(str(c.base_url).removesuffix("/v1/") + "/metrics")).text


async def running(c: httpx.AsyncClient) -> float:
    [value] = re.findall(r"^vllm:num_requests_running\{.*\} (\S+)$", await exposition(c), re.MULTILINE)
    return float(value)


async def test_a_stream_says_what_a_whole_answer_says(replica: vllm.VllmReplica) -> None:
    whole = await chat(replica, "What is the capital of France?", max_tokens=24)
    body = {"model": "small", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
    options = {"temperature": 0, "max_tokens": 24, "stream": True, "stream_options": {"include_usage": True}}
    async with client(replica) as c, c.stream("POST", "chat/completions", json=body | options) as response:
        lines = [line.removeprefix("data: ") async for line in response.aiter_lines() if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


async def test_a_caller_without_the_key_is_rejected(replica: vllm.VllmReplica) -> None:
    lease = await granted(replica)
    async with httpx.AsyncClient(trust_env=False) as c:
        assert (await c.get(f"{lease['url']}/models")).status_code == 401


async def test_a_disconnect_ends_the_generation(replica: vllm.VllmReplica) -> None:
    body = {"model": "small", "prompt": "One, two,", "max_tokens": 2000, "stream": True, "ignore_eos": True}
    async with client(replica) as c:
        async with c.stream("POST", "completions", json=body) as response:
            lines = response.aiter_lines()
            while not (await anext(lines)).startswith("data: "):
                pass
            assert await running(c) == 1
        while await running(c):
            await asyncio.sleep(0.1)
        assert _sum(await exposition(c), "vllm:generation_tokens_total") < 2000


async def test_a_required_call_has_arguments_of_its_schema(replica: vllm.VllmReplica) -> None:
    answer = await chat(replica, "Weather in Oslo?", tools=[TOOL], tool_choice="required", max_tokens=80)
    [call] = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"
    jsonschema.validate(json.loads(call["function"]["arguments"]), WEATHER)


async def test_an_answer_follows_a_json_schema(replica: vllm.VllmReplica) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER, "strict": True}}
    answer = await chat(replica, "Weather in Oslo?", response_format=schema, max_tokens=80)
    jsonschema.validate(json.loads(answer["choices"][0]["message"]["content"]), WEATHER)


async def test_log_probabilities_are_of_each_token(replica: vllm.VllmReplica) -> None:
    answer = await chat(replica, "Name a colour.", logprobs=True, top_logprobs=2, max_tokens=4)
    tokens = answer["choices"][0]["logprobs"]["content"]
    assert len(tokens) == answer["usage"]["completion_tokens"]
    assert all(len(t["top_logprobs"]) == 2 and t["logprob"] <= 0 for t in tokens)


async def test_an_adapter_answers_under_its_name(replica: vllm.VllmReplica) -> None:
    async with client(replica) as c:
        assert {m["id"] for m in (await c.get("models")).json()["data"]} == {"small", "odd"}
    base, adapted = [await chat(replica, "Name a colour.", max_tokens=8, model=model) for model in ("small", "odd")]
    assert base["choices"][0]["message"]["content"] != adapted["choices"][0]["message"]["content"]


async def test_an_adapter_of_the_hub_comes_and_goes(replica: vllm.VllmReplica, sets: LiveSets, weights: Path) -> None:
    async def loaded(*names: str) -> None:
        async with asyncio.timeout(300):
            while sets.reports("small")[0].loaded != names:
                await asyncio.sleep(0.1)

    async def known() -> set[str]:
        async with client(replica) as c:
            return {m["id"] for m in (await c.get("models")).json()["data"]}

    version = LiveAdapter("t.odd.1", "mver_1", artefacts_of(weights / "hub/mver_1", ADAPTER_FILES), 8, ("t",))
    publish(sets, "small", [version])
    await loaded("t.odd.1")
    assert await known() == {"small", "odd", "t.odd.1"}
    lease = replica.lease("owner", "user", "t.odd.1")
    assert (await anext(lease))["url"]
    published = [await chat(replica, "Name a colour.", max_tokens=8, model=model) for model in ("odd", "t.odd.1")]
    assert published[0]["choices"][0]["message"]["content"] == published[1]["choices"][0]["message"]["content"]
    publish(sets, "small", [])
    await loaded()
    assert await anext(replica.lease("owner", "user", "t.odd.1")) == {"lacks": "t.odd.1"}
    await chat(replica, "Name a colour.", max_tokens=8, model="t.odd.1")
    await lease.aclose()  # ty: ignore[missing-attribute]
    async with asyncio.timeout(60):
        while "t.odd.1" in await known():
            await asyncio.sleep(0.1)
    assert await known() == {"small", "odd"}


async def test_a_cache_salt_separates_callers(replica: vllm.VllmReplica) -> None:
    """The gateway gives each tenant a salt of its own."""
    prompt = "The mill stands on the river, and the river feeds the lock. " * 12

    async def hits(salt: str) -> float:
        async with client(replica) as c:
            before = _sum(await exposition(c), "vllm:prefix_cache_hits_total")
            await c.post("completions", json={"model": "small", "prompt": prompt, "max_tokens": 1, "cache_salt": salt})
            return _sum(await exposition(c), "vllm:prefix_cache_hits_total") - before

    assert await hits("a" * 43) == 0
    assert await hits("a" * 43) > 0
    assert await hits("b" * 43) == 0


def _sum(text: str, name: str) -> float:
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))


async def test_vllm_emits_all_series_of_the_dashboards(replica: vllm.VllmReplica) -> None:
    async with client(replica) as c:
        series = set(re.findall(r"^([a-z0-9_:]+)[ {]", await exposition(c), re.MULTILINE))
    used = {name for name in EXTERNAL if name.startswith("vllm:")}
    assert len(used) > 10
    assert used - series == set()


async def test_a_dead_vllm_is_reported_and_leaves_no_process(replica: vllm.VllmReplica) -> None:
    """The last test: it kills the replica's vLLM."""
    await replica.check_health()
    [server] = [p for p in group(replica) if b"serve" in Path(f"/proc/{p}/cmdline").read_bytes().split(b"\0")[2:3]]
    os.kill(server, signal.SIGKILL)
    eventually(lambda: bool(replica._program.ended()), "vLLM has ended", 60)
    with pytest.raises(vllm.StartFailed, match="vLLM of small ended by signal 9"):
        await replica.check_health()
    eventually(lambda: not group(replica), "its engine and workers have ended", 60)
