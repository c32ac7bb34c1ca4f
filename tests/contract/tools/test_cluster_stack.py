"""The cluster of a stack that makes it is known by its output, and by nothing before that."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from infra.kubernetes.kube_api import KubeApi
from tests.rendering.examples import KUBECONFIG, MADE, stack_settings
from tools.report import ToolError
from tools.stack import cluster_stack, weights_progress
from tools.stack.cluster_stack import ClusterStack
from tools.stack.workspace import Workspace


class Stack:
    """A workspace, as far as it is asked."""

    def __init__(self, settings: dict[str, Any], **outputs: str) -> None:
        self._settings, self._outputs = settings, outputs

    def settings(self) -> dict[str, Any]:
        return self._settings

    def outputs(self) -> dict[str, str]:
        return self._outputs


@pytest.mark.parametrize("example", MADE, ids=lambda p: p.stem.removeprefix("Pulumi."))
def test_a_made_cluster_is_found_by_its_output(example: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    mine = tmp_path / "kubeconfig"  # of another cluster, which must not be taken for it
    mine.write_text(yaml.safe_dump({**KUBECONFIG, "clusters": [{"name": "c", "cluster": {"server": "https://mine"}}]}))
    monkeypatch.setenv("KUBECONFIG", str(mine))
    settings = stack_settings(example)
    assert ClusterStack.from_workspace(cast(Workspace, Stack(settings))) is None
    stack = ClusterStack.from_workspace(cast(Workspace, Stack(settings, kubeconfig=yaml.safe_dump(KUBECONFIG))))
    assert stack is not None
    assert stack.cluster.server == "https://cluster.invalid:6443"


@pytest.fixture
def endpoints(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ClusterStack, list[bool | None]]]:
    """A stack's cluster, and whether the pod behind its API is ready at each look; the last one stays.

    None: the API server has no answer, as when a control plane restarts.
    """
    looks: list[bool | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ready = looks.pop(0) if len(looks) > 1 else looks[0]
            found = [{"conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": "worker"}}]
            body = json.dumps({"items": [{"endpoints": found}]}).encode()
            self.send_response(503 if ready is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    monkeypatch.setattr(cluster_stack, "POLL_S", 0.01)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        cluster = {"server": f"http://127.0.0.1:{server.server_port}"}
        kubeconfig = {**KUBECONFIG, "clusters": [{"name": "c", "cluster": cluster}]}
        settings = stack_settings(Path(MADE[0]))
        stack = ClusterStack.from_workspace(cast(Workspace, Stack(settings, kubeconfig=yaml.safe_dump(kubeconfig))))
        assert stack is not None
        yield stack, looks
        server.shutdown()
        thread.join()


def test_waits_for_a_pod_that_restarts(
    endpoints: tuple[ClusterStack, list[bool | None]], capsys: pytest.CaptureFixture[str]
) -> None:
    stack, looks = endpoints
    looks += [False, False, None, False, True]
    stack.wait_until_ready()
    assert looks == [True]
    said = capsys.readouterr().err
    assert said.count("waiting: no pod behind Service headrace/headrace-serve-svc is ready") == 2, said
    assert "with status 503" in said


def test_a_pod_that_is_never_ready_is_an_error(endpoints: tuple[ClusterStack, list[bool | None]]) -> None:
    stack, looks = endpoints
    looks += [False, True]  # a wait that goes on finds one
    with pytest.raises(ToolError, match=r"no pod behind Service .* is ready, 0 s after"):
        stack.wait_until_ready(patience_s=0)


def test_the_progress_of_weights_is_said_when_it_changes(
    endpoints: tuple[ClusterStack, list[bool | None]], capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    stack, _ = endpoints
    there = [0, 1 << 30, 1 << 30, 4 << 30]
    asked: list[str] = []

    def read(cluster: object, namespace: str, pod: str) -> str:
        asked.append(f"{namespace}/{pod}")
        sizes = f'headrace_weights_bytes{{model="llama"}} {4 << 30}.0\n'
        return f'{sizes}headrace_weights_fetched_bytes{{model="llama"}} {there.pop(0)}.0\n'

    class Api:
        def items(self, path: str) -> list[dict[str, Any]]:
            assert path.startswith("/api/v1/namespaces/headrace/pods?labelSelector=")
            return [{"metadata": {"name": "gpu-1"}}]

    monkeypatch.setattr(weights_progress, "EVERY_S", 0)
    progress = weights_progress.WeightsProgress(stack.config, stack.cluster, read)
    for _ in range(4):
        progress.poll(cast(KubeApi, Api()))
    assert asked == ["headrace/gpu-1"] * 4
    assert [line.partition(": ")[2] or line for line in capsys.readouterr().err.splitlines()] == [
        "0.0 of 4.0 GiB (0 %)",
        "1.0 of 4.0 GiB (25 %)",
    ]
