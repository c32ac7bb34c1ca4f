"""Readiness and address of an InferenceService, read from the status that an API server holds."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.providers.inference_endpoint import InferenceEndpointProvider
from infra.resources.problem import Interrupted, Problem
from infra.resources.resource import Task

URL = "http://llama-models.example.com"
ADDRESS = "http://llama-predictor.models.svc.cluster.local"
READY = {
    "url": URL,
    "address": {"url": ADDRESS},
    "observedGeneration": 1,
    "conditions": [{"type": "Ready", "status": "True"}, {"type": "PredictorReady", "status": "True"}],
}


class Cluster:
    """An API server that holds one InferenceService; each read of it takes the next status, the last one stays."""

    def __init__(self, folder: Path) -> None:
        self.statuses: list[dict[str, Any] | None] = [READY]
        self.generation = 1
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = "/apis/serving.kserve.io/v1beta1/namespaces/models/inferenceservices/llama"
                status = cluster.statuses[0]
                if len(cluster.statuses) > 1:
                    cluster.statuses.pop(0)
                found = self.path == known and status is not None
                body = json.dumps({"metadata": {"generation": cluster.generation}, "status": status} if found else {})
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "current-context": "c",
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                    "clusters": [
                        {"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.server.server_address[1]}"}}
                    ],
                    "users": [{"name": "u", "user": {}}],
                }
            )
        )

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.close()


class Log(Task):
    """Keeps what is shown, and does not wait."""

    def __init__(self) -> None:
        self.said: list[str] = []
        super().__init__(self.said.append, threading.Event())

    def pause(self, seconds: float) -> None:
        super().pause(0)


def wanted(cluster: Cluster, **values: Any) -> dict[str, Any]:
    return {
        "kubeconfig": str(cluster.kubeconfig),
        "content": "",
        "context": "",
        "namespace": "models",
        "name": "llama",
        "address": "cluster",
        "timeout_s": 30,
        "revision": "",
        **values,
    }


def test_a_service_that_is_ready_has_an_address(cluster: Cluster) -> None:
    id, outputs = InferenceEndpointProvider().create(wanted(cluster), Log())
    assert (id, outputs["url"]) == ("models/llama", ADDRESS)


def test_from_outside_it_has_another(cluster: Cluster) -> None:
    assert InferenceEndpointProvider().create(wanted(cluster, address="external"), Log())[1]["url"] == URL


def test_the_url_is_used_without_a_cluster_address(cluster: Cluster) -> None:
    cluster.statuses = [{**READY, "address": None, "url": f"{URL}/"}]
    assert InferenceEndpointProvider().create(wanted(cluster), Log())[1]["url"] == URL


def test_waiting_reports_the_unmet_conditions(cluster: Cluster) -> None:
    waiting = {
        "conditions": [
            {"type": "Ready", "status": "False"},
            {"type": "PredictorReady", "status": "False", "reason": "MinimumReplicasUnavailable", "message": "0 of 1"},
        ]
    }
    cluster.statuses = [{}, waiting, waiting, READY]
    log = Log()
    assert InferenceEndpointProvider().create(wanted(cluster), log)[1]["url"] == ADDRESS
    assert log.said == [
        "KServe has not answered yet",
        "PredictorReady is False (MinimumReplicasUnavailable: 0 of 1)",
    ]


def test_a_status_of_an_older_version_does_not_count(cluster: Cluster) -> None:
    cluster.generation = 2
    cluster.statuses = [READY, {**READY, "observedGeneration": 2, "address": {"url": "http://new"}}]
    log = Log()
    endpoint = InferenceEndpointProvider()
    old = wanted(cluster, url=ADDRESS, revision="1")
    assert endpoint.update("models/llama", old, wanted(cluster, revision="2"), log)["url"] == "http://new"
    assert log.said == ["KServe has not yet observed the latest version"]


def test_one_that_kserve_gave_up_is_not_waited_for(cluster: Cluster) -> None:
    cluster.statuses = [
        {
            "conditions": [{"type": "Ready", "status": "False"}],
            "modelStatus": {
                "transitionStatus": "BlockedByFailedLoad",
                "lastFailureInfo": {"reason": "ModelLoadFailed", "message": "no such bucket"},
            },
        }
    ]
    with pytest.raises(Problem, match="models/llama failed: BlockedByFailedLoad: ModelLoadFailed: no such bucket"):
        InferenceEndpointProvider().create(wanted(cluster), Log())


def test_a_timeout_reports_the_unmet_conditions(cluster: Cluster) -> None:
    cluster.statuses = [{"conditions": [{"type": "PredictorReady", "status": "Unknown"}]}]
    with pytest.raises(
        Problem, match="not ready after 0 s: PredictorReady is Unknown\nfor details, run kubectl describe infer"
    ):
        InferenceEndpointProvider().create(wanted(cluster, timeout_s=0), Log())


def test_waiting_can_be_interrupted(cluster: Cluster) -> None:
    cluster.statuses = [{}]
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Interrupted):
        InferenceEndpointProvider().create(wanted(cluster), Task(lambda _: None, cancelled))


def test_a_missing_service_is_named(cluster: Cluster) -> None:
    with pytest.raises(Problem, match="there is no InferenceService models/nobody"):
        InferenceEndpointProvider().create(wanted(cluster, name="nobody"), Log())


def test_ready_without_an_address_is_a_problem(cluster: Cluster) -> None:
    cluster.statuses = [{"conditions": READY["conditions"]}]
    with pytest.raises(Problem, match="is ready, but has no address"):
        InferenceEndpointProvider().create(wanted(cluster), Log())


def test_refresh_detects_a_changed_address_and_a_deleted_service(cluster: Cluster) -> None:
    old = wanted(cluster, url="http://before")
    found = InferenceEndpointProvider().read("models/llama", old)
    assert (found.id, found.outputs["url"]) == ("models/llama", ADDRESS)
    cluster.statuses = [None]
    assert InferenceEndpointProvider().read("models/llama", old).id is None


def test_refresh_without_a_cluster_keeps_the_state(cluster: Cluster) -> None:
    old = wanted(cluster, url="http://before")
    cluster.close()
    assert InferenceEndpointProvider().read("models/llama", old).outputs["url"] == "http://before"
