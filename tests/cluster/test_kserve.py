"""A model that KServe runs, asked by an assistant: the stack's own objects, provider and engine on a real cluster.

`pulumi up` made the ServingRuntime and the InferenceService, waited until their status said that the model was ready,
and gave the gateway the address that stood there. In KServe's place is `tests.cluster.kserve.controller`. An upgrade
takes the model away: see test_upgrade.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster import around
from tests.cluster.kserve.controller import GROUP
from tests.cluster.stack import NAMESPACE, ClusterStack
from tools.cluster.images import TOOLS
from tools.report import ToolError

Kubectl = Callable[..., str]
Object = dict[str, Any]


def serving_image(kubectl: Kubectl) -> str:
    """The image of the stack's own workers."""
    worker = "-l=app.kubernetes.io/component=worker,app.kubernetes.io/part-of=headrace"
    pods = json.loads(kubectl(f"-n={NAMESPACE}", "get", "pods", worker, "-o=json"))["items"]
    return str(pods[0]["spec"]["containers"][0]["image"])


def model_pod(kubectl: Kubectl) -> Object:
    selector = "-l=app.kubernetes.io/instance=kserved,app.kubernetes.io/component=inference-service"
    [pod] = json.loads(kubectl(f"-n={NAMESPACE}", "get", "pods", selector, "-o=json"))["items"]
    return dict(pod)


def tokens(kubectl: Kubectl) -> float:
    """Tokens that the model's own server has generated."""
    read = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/metrics').read().decode())"
    name = model_pod(kubectl)["metadata"]["name"]
    text = kubectl(f"-n={NAMESPACE}", "exec", name, "--", "python", "-c", read)
    [line] = [x for x in text.splitlines() if x.startswith("llamacpp:tokens_predicted_total ")]
    return float(line.split()[1])


def contains(whole: Any, part: Any) -> bool:
    """True if `whole` has every field of `part`; the API server fills in more."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(contains(whole.get(k), v) for k, v in part.items())
    if isinstance(part, list):
        pairs = zip(whole, part, strict=False)
        return isinstance(whole, list) and len(whole) >= len(part) and all(contains(w, p) for w, p in pairs)
    return bool(whole == part)


def test_the_pod_runs_the_container_of_the_runtime(stack: ClusterStack, kubectl: Kubectl) -> None:
    get = (f"-n={NAMESPACE}", "get", "-o=json")
    runtime = json.loads(kubectl(*get, f"servingruntimes.{GROUP}", "headrace-llamacpp"))
    [described] = runtime["spec"]["containers"]
    pod = model_pod(kubectl)
    [running] = pod["spec"]["containers"]
    assert running["image"] == described["image"] == serving_image(kubectl)
    assert running["command"] == described["command"]
    assert running["args"] == [
        "--port=8080",
        "--name=kserved",
        "--model=/mnt/models/model.gguf",
        "--context=4096",
        "--slots=2",
    ]
    for field in ("startupProbe", "readinessProbe", "livenessProbe", "securityContext", "env", "ports", "volumeMounts"):
        assert contains(running[field], described[field]), field
    assert running["resources"]["limits"] == {"cpu": "300m", "memory": "700M"}
    assert pod["spec"]["securityContext"]["runAsUser"] == 10001
    assert {c["type"]: c["status"] for c in pod["status"]["conditions"]}["Ready"] == "True"


def test_an_assistant_answers_with_the_model(stack: ClusterStack, kubectl: Kubectl) -> None:
    before = tokens(kubectl)
    question = [{"role": "user", "content": "When does the harbour gate of Brenna open?"}]
    with stack.client(timeout=240) as client:
        answer = client.post("/v1/chat/completions", json={"model": "kserve-reader", "messages": question})
    assert answer.status_code == 200, answer.text
    [choice] = answer.json()["choices"]
    assert choice["message"]["content"]
    # What a model of 135M parameters says need not be citable; what is cited is the one document that tells it.
    assert {c["file_name"] for c in choice["message"]["headrace"]["citations"]} <= {"tides.md"}
    assert tokens(kubectl) >= before + 5


def test_streams_of_the_model_are_relayed(stack: ClusterStack) -> None:
    body = {
        "model": "kserved",
        "messages": [{"role": "user", "content": "Count to five."}],
        "stream": True,
        "max_tokens": 16,
    }
    with stack.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    assert len(lines) > 3
    assert {json.loads(line[6:])["model"] for line in lines[:-1]} == {"kserved"}


def test_other_pods_cannot_reach_the_model(stack: ClusterStack, kubectl: Kubectl, namespace: str) -> None:
    """The model server requires no key; a network policy admits only the stack's workers."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stranger", "namespace": namespace},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {"name": "main", "image": TOOLS, "imagePullPolicy": "Never", "command": ["sleep", "infinity"]}
            ],
        },
    }
    around.apply(pod)
    kubectl(f"-n={namespace}", "wait", "--for=condition=Ready", "--timeout=60s", "pod/stranger")
    address = model_pod(kubectl)["status"]["podIP"]
    with pytest.raises(ToolError, match=r"socat\[\d+\] E"):
        command = ("socat", "-T3", "-", f"TCP:{address}:8080,connect-timeout=3")
        kubectl(f"-n={namespace}", "exec", "stranger", "--", *command)
