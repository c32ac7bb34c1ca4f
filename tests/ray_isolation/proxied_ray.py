"""A Ray behind its dashboard proxy, as in a head pod."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx

from infra.layout import CHECKOUT
from infra.providers.process import wait_ready
from infra.providers.ray_head import NODE, RayHead
from infra.providers.ray_ports import RayPorts
from infra.providers.session import Session
from infra.resources.resource import Task
from tests.servers.process import held_port
from tests.wait import eventually

APPLICATIONS = "/api/serve/applications/"
KUBERAYS_READ = f"{APPLICATIONS}?api_type=declarative"

HELLO = """
import asyncio

from ray import serve

@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Hello:
    async def __call__(self, request):
        await asyncio.sleep(float(request.query_params.get("seconds", 0)))
        return "hello"

def build(args):
    return Hello.bind()
"""


@dataclass
class ProxiedRay:
    """A Ray, its dashboard proxy, and the document that is mounted for the proxy."""

    proxy: httpx.Client
    dashboard: str
    token: str
    document: dict[str, Any]
    mounted: Path
    token_file: Path
    session: Session
    log: Path
    inputs: dict[str, Any]

    def restart(self, env: Mapping[str, str]) -> None:
        """Ends what is left of Ray and starts it with these variables, without a word about Serve.

        Its folder is a new one, and so are its ports but the dashboard's.
        """
        head, task = RayHead(), Task(lambda _: None)
        head.delete(self.inputs["record"], self.inputs, task)
        self.inputs["env"] = {"PYTHONPATH": self.inputs["env"]["PYTHONPATH"], **env}
        head._start(self.session, self.inputs, "")
        url, log = f"{self.dashboard}/api/version", Path(self.inputs["log"])
        wait_ready(self.session, url, log, task, name="Ray", seconds=120)

    def mount(self, document: dict[str, Any]) -> None:
        """Changes the mounted document as the kubelet does: by another target of a link."""
        target = self.mounted.parent / secrets.token_hex(4)
        target.write_text(json.dumps(document, indent=1))
        link = self.mounted.with_suffix(".new")
        link.symlink_to(target.name)
        link.rename(self.mounted)

    @property
    def gcs(self) -> str:
        """Address of Ray's control service."""
        return f"{NODE}:{RayPorts(int(self.session.spec['base'])).gcs}"

    def applications(self) -> dict[str, Any]:
        answer = self.proxy.get(KUBERAYS_READ)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["applications"])

    def running(self, name: str) -> bool:
        answer = self.proxy.get(KUBERAYS_READ)
        if answer.status_code == 503:  # Ray is too busy to say it
            return False
        return bool(answer.raise_for_status().json()["applications"].get(name, {}).get("status") == "RUNNING")


def application(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "route_prefix": f"/{name}",
        "import_path": "hello_behind_the_proxy:build",
        "deployments": [{"name": "Hello", "num_replicas": 1}],
    }


@contextlib.contextmanager
def proxied_ray(env: Mapping[str, str] | None = None) -> Iterator[ProxiedRay]:
    """Starts a Ray with token authentication and the variables `env`, behind a dashboard proxy."""
    with contextlib.ExitStack() as stack:
        # Ray's sockets leave little room for the name of its folder.
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hrd-", dir="/tmp")))
        (root / "hello_behind_the_proxy.py").write_text(HELLO)
        token_file = root / "token"
        token_file.write_text(secrets.token_hex(32))
        inputs = {
            "ray": [sys.executable, "-m", "serving.ray_node"],
            "version": metadata.version("ray"),
            "cpus": 4,
            "object_store_bytes": 80_000_000,
            "temp": str(root / "r"),
            "token_path": str(token_file),
            "ports": {},
            "dashboard_port": stack.enter_context(held_port()),
            "inner_base": 0,
            "record": str(root / "run"),
            "log": str(root / "ray.log"),
            "env": {"PYTHONPATH": os.pathsep.join((str(root), str(CHECKOUT))), **(env or {})},
        }
        head, task = RayHead(), Task(lambda _: None)
        stack.callback(lambda: head.delete(inputs["record"], inputs, task))
        document = {
            "proxy_location": "HeadOnly",
            "http_options": {"host": "127.0.0.1", "port": stack.enter_context(held_port())},
            "applications": [application("one")],
        }
        mounted = root / "serve.json"
        port = stack.enter_context(held_port())
        log = root / "proxy.log"
        arguments = ["--listen", f"127.0.0.1:{port}", "--ray", f"http://127.0.0.1:{inputs['dashboard_port']}"]
        files = ["--token-file", str(token_file), "--document", str(mounted)]
        proxy = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "serving.dashboard_proxy", *arguments, *files], stderr=log.open("w")
            )
        )
        stack.callback(proxy.terminate)
        client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=90, trust_env=False))
        eventually(lambda: listens(port), "the dashboard proxy listens")
        session = Session(Path(inputs["record"]))
        dashboard = f"http://127.0.0.1:{inputs['dashboard_port']}"
        ray = ProxiedRay(client, dashboard, token_file.read_text(), document, mounted, token_file, session, log, inputs)
        ray.mount(document)
        refused_before_ray_is_there(ray)
        head.create(inputs, task)
        yield ray


def listens(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def refused_before_ray_is_there(ray: ProxiedRay) -> None:
    for answer in (ray.proxy.get(KUBERAYS_READ), ray.proxy.put(APPLICATIONS, json=ray.document)):
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "ray_down"
    assert ray.proxy.get("/healthz").status_code == 200


def deploy(ray: ProxiedRay) -> None:
    """Deploys the document the way KubeRay does it."""
    sorted_keys = json.dumps(ray.document, sort_keys=True)
    headers = {"Content-Type": "application/json"}

    def put() -> bool:
        answer = ray.proxy.put(APPLICATIONS, content=sorted_keys, headers=headers)
        # Where Serve is too busy to start its proxies in time, Ray says 500, and KubeRay asks again.
        assert answer.status_code in (200, 500, 503), answer.text
        return answer.status_code == 200

    eventually(put, "Serve takes the document", 180)
    eventually(lambda: ray.running("one"), "the application runs", 180)
    url = f"http://127.0.0.1:{ray.document['http_options']['port']}/one"
    eventually(lambda: _answers(url), "the application answers", 180)


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, trust_env=False).text == "hello"
    return False
