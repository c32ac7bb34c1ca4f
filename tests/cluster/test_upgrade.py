"""Upgrades and deaths under a steady load, on the real cluster.

An upgrade takes no request and breaks no stream. What dies without notice may cut what it was doing, and then it is
seen: nothing hangs, nothing that was cut looks complete, what the gateway can still answer is a typed error.
The soak takes each death by itself; here they follow each other under one load.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.cluster import around
from tests.cluster.images import second_version
from tests.cluster.kserve.controller import GROUP
from tests.cluster.stack import KSERVED, NAMESPACE, ClusterStack, end_ray
from tests.stacks import ticker
from tests.stacks.load import Load, healed, nothing_lost
from tests.wait import eventually

pytestmark = pytest.mark.last

Kubectl = Callable[..., str]

AT_MOST_S = 900
HEALED_S = 300
"""Most of the time until service is as before a death: Ray's processes are started anew on two busy processors."""
EVERY_S = 2
"""Between two questions by kubectl while the processors are wanted for what is asked about."""
STREAM_S = (0, pytest.param(300, marks=pytest.mark.soak))
"""0: as long as the upgrade takes."""


class LongStream(threading.Thread):
    """One stream of a word a second, for as many seconds, or else until it is told to end."""

    def __init__(self, stack: ClusterStack, seconds: int) -> None:
        super().__init__()
        self.stack = stack
        self.seconds = seconds
        self.words = 0
        self.text = ""
        self.problem = ""

    def run(self) -> None:
        body = {
            "model": "ticker",
            "messages": [{"role": "user", "content": "count"}],
            "max_tokens": self.seconds or AT_MOST_S,
            "stream": True,
        }
        try:
            with self.stack.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
                for line in answer.iter_lines():
                    self.text += line + "\n"
                    self.words += line.startswith("data: {")
        except Exception as error:  # the test says it
            self.problem = repr(error)

    def end(self) -> None:
        """Waits for its end; the model ends one that has no length of its own."""
        if not self.seconds:
            url = f"http://{around.address(around.NAMESPACE, 'ticker')}:8080{ticker.END}"
            httpx.post(url, timeout=30).raise_for_status()
        self.join(self.seconds + 60)


@pytest.fixture(params=STREAM_S)
def long_stream(stack: ClusterStack, request: pytest.FixtureRequest) -> Iterator[LongStream]:
    stream = LongStream(stack, request.param)
    stream.start()
    yield stream
    stream.end()


@pytest.fixture
def figures(capsys: pytest.CaptureFixture[str]) -> Callable[[str, Load], None]:
    """Prints the figures of a load, for docs/benchmarks.md."""

    def show(what: str, load: Load) -> None:
        with capsys.disabled():
            print(f"\n{what}: {load.complete} streams complete, {load.cut} cut, {load.refused} refused")

    return show


def active(kubectl: Kubectl) -> str:
    path = "-o=jsonpath={.status.activeServiceStatus.rayClusterName}"
    return kubectl(f"-n={NAMESPACE}", "get", "rayservice", "headrace", path)


def pods(kubectl: Kubectl, **labels: str) -> list[str]:
    selector = ",".join(
        f"{k.replace('__', '/')}={v}" for k, v in {"ray.io__cluster": active(kubectl), **labels}.items()
    )
    items = json.loads(kubectl(f"-n={NAMESPACE}", "get", "pods", f"-l={selector}", "-o=json"))["items"]
    return [item["metadata"]["name"] for item in items if "deletionTimestamp" not in item["metadata"]]


def without(stack: ClusterStack, model: str) -> dict[str, object]:
    """The stack's settings of models and assistants, without a model and those that use it."""
    settings = stack.settings()
    return {
        "models": [each for each in settings["models"] if each["name"] != model],
        "assistants": [each for each in settings["assistants"] if each["model"] != model],
    }


def test_an_upgrade_under_load_loses_no_requests(
    stack: ClusterStack, kubectl: Kubectl, long_stream: LongStream, figures: Callable[[str, Load], None]
) -> None:
    """Another image, and a configuration without the model of KServe, while streams run; one of them for minutes."""
    before = active(kubectl)
    with Load(stack, gentle=True) as load:
        eventually(lambda: load.complete >= 3, "the load works", 240)
        stack.change(image=second_version().settings(), **without(stack, KSERVED["name"]))
        stack.run("up", "--yes")
        assert kubectl(f"-n={NAMESPACE}", "get", f"inferenceservices.{GROUP}", "-o=name") == ""
        after = active(kubectl)
        assert after != before, "nothing was upgraded"
        settled = load.complete
        eventually(lambda: load.complete >= settled + 6, "the new version answers", 240)
    assert load.problems == []
    assert load.incomplete == [], f"{load.complete} complete"
    nothing_lost(stack, load)
    assert long_stream.is_alive() or long_stream.seconds, "it ended before the upgrade did"
    long_stream.end()
    assert not long_stream.problem
    assert long_stream.text.endswith("data: [DONE]\n\n")
    assert long_stream.words >= long_stream.seconds
    figures("upgrade", load)


POOLS = {"serving": 2, "models": 1}


@pytest.fixture
def whole(stack: ClusterStack, kubectl: Kubectl) -> None:
    """Every pod that an earlier test deleted is drained and replaced, and the service is healthy."""
    _end_replaced(kubectl)
    eventually(
        lambda: all(_is_whole(kubectl, pool, size) for pool, size in POOLS.items()), "all pools are whole", 420, EVERY_S
    )
    assert healed(stack, HEALED_S)


def _end_replaced(kubectl: Kubectl) -> None:
    """Ends the Ray cluster that an upgrade replaced, which waits eleven minutes for streams: none is left here."""
    now = active(kubectl)
    kubectl(f"-n={NAMESPACE}", "delete", "raycluster", f"--field-selector=metadata.name!={now}", "--wait=false")
    end_ray(f"ray.io/cluster,ray.io/cluster!={now}")


def _is_whole(kubectl: Kubectl, pool: str, size: int) -> bool:
    # Not: ready. Serve moves no replica back, so a replacement may stand by without one, which is not ready.
    selector = f"-l=ray.io/cluster={active(kubectl)},headrace.io/pool={pool}"
    items = json.loads(kubectl(f"-n={NAMESPACE}", "get", "pods", selector, "-o=json"))["items"]
    ended = any("deletionTimestamp" in item["metadata"] for item in items)
    return not ended and [item["status"]["phase"] for item in items] == ["Running"] * size


@pytest.mark.usefixtures("whole")
def test_deaths_under_load_are_healed_and_lose_nothing(
    stack: ClusterStack, kubectl: Kubectl, figures: Callable[[str, Load], None]
) -> None:
    """Ray's head without notice, which takes nothing; then the model's pod without, and one with a gateway with."""
    before = replicas(kubectl)
    assert sum(map(len, before.values())) >= 5
    (head,) = pods(kubectl, **{"ray.io__node-type": "head"})
    with Load(stack, gentle=True) as load:
        eventually(lambda: load.complete >= 3, "the load works", 240)
        kubectl(f"-n={NAMESPACE}", "delete", "pod", head, "--force", "--grace-period=0", "--wait=false")
        eventually(lambda: _head_is_back(kubectl, head), "the head is back", HEALED_S, EVERY_S)
        settled = load.complete
        eventually(lambda: load.complete >= settled + 6, "service goes on", 240)
        assert load.incomplete == [], f"{load.complete} complete"
        assert replicas(kubectl) == before
        model, gateway = (pods(kubectl, **{"headrace.io__pool": pool})[0] for pool in ("models", "serving"))
        kubectl(f"-n={NAMESPACE}", "delete", "pod", model, "--force", "--grace-period=0", "--wait=false")
        kubectl(f"-n={NAMESPACE}", "delete", "pod", gateway, "--wait=false")
        eventually(lambda: _is_replaced(kubectl, model), "another pod has the model", HEALED_S, EVERY_S)
        assert healed(stack, HEALED_S)
        settled = load.complete
        eventually(lambda: load.complete >= settled + 6, "service is back", 240)
    assert load.problems == []
    nothing_lost(stack, load)
    figures("head, model and gateway", load)


def _is_replaced(kubectl: Kubectl, pod: str) -> bool:
    return bool(found := pods(kubectl, **{"headrace.io__pool": "models"})) and pod not in found


@pytest.mark.soak
@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("pool", ["serving", "models"])
def test_a_deleted_pod_loses_no_requests(
    stack: ClusterStack, kubectl: Kubectl, pool: str, figures: Callable[[str, Load], None]
) -> None:
    """With notice, as in the drain of a node."""
    victim = pods(kubectl, **{"headrace.io__pool": pool})[0]
    with Load(stack) as load:
        eventually(lambda: load.complete >= 3, "the load works", 240)
        kubectl(f"-n={NAMESPACE}", "delete", "pod", victim, "--wait=false")
        settled = load.complete
        eventually(lambda: load.complete >= settled + 6, "service is back", 240)
    assert load.problems == []
    nothing_lost(stack, load)
    figures(f"a pod of {pool} is deleted", load)


@pytest.mark.soak
@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("pool", ["serving", "models"])
def test_a_pod_that_dies_is_replaced(
    stack: ClusterStack, kubectl: Kubectl, pool: str, figures: Callable[[str, Load], None]
) -> None:
    victim = pods(kubectl, **{"headrace.io__pool": pool})[0]
    with Load(stack) as load:
        eventually(lambda: load.complete >= 3, "the load works", 240)
        kubectl(f"-n={NAMESPACE}", "delete", "pod", victim, "--force", "--grace-period=0", "--wait=false")
        time.sleep(5)
        assert healed(stack, HEALED_S)
    assert load.problems == []
    nothing_lost(stack, load)
    figures(f"a pod of {pool} dies", load)


def replicas(kubectl: Kubectl) -> dict[str, set[str]]:
    """Returns the processes of Serve's replicas by pod: their ids and start times."""
    found = {}
    for pod in pods(kubectl, **{"ray.io__node-type": "worker"}):
        listing = kubectl(
            f"-n={NAMESPACE}",
            "exec",
            pod,
            "-c=ray-worker",
            "--",
            "bash",
            "-c",
            "for p in /proc/[0-9]*; do echo ${p#/proc/} $(cut -d' ' -f22 $p/stat) $(tr '\\0' ' ' <$p/cmdline); done",
        )
        replicas = (line for line in listing.splitlines() if "ray::ServeReplica" in line)
        found[pod] = {" ".join(line.split()[:2]) for line in replicas}  # Ray changes titles
    return found


@pytest.mark.soak
@pytest.mark.usefixtures("whole")
def test_replicas_survive_the_death_of_the_head(
    stack: ClusterStack, kubectl: Kubectl, figures: Callable[[str, Load], None]
) -> None:
    """Ray's control state is on a volume: requests continue without a head, and replicas survive its death."""
    before = replicas(kubectl)
    assert sum(map(len, before.values())) >= 5
    (head,) = pods(kubectl, **{"ray.io__node-type": "head"})
    with Load(stack) as load:
        eventually(lambda: load.complete >= 3, "the load works", 240)
        kubectl(f"-n={NAMESPACE}", "delete", "pod", head, "--force", "--grace-period=0", "--wait=false")
        eventually(lambda: _head_is_back(kubectl, head), "the head is back", HEALED_S, EVERY_S)
        settled = load.complete
        eventually(lambda: load.complete >= settled + 6, "service goes on", 240)
    assert load.problems == []
    assert load.incomplete == [], f"{load.complete} complete"
    assert replicas(kubectl) == before
    nothing_lost(stack, load)
    figures("the head dies", load)


@pytest.mark.usefixtures("whole")
@pytest.mark.soak
def test_a_new_ray_cluster_replaces_one_with_corrupt_state(stack: ClusterStack, kubectl: Kubectl) -> None:
    """The procedure of docs/how-to/troubleshoot.md; conversations are stored elsewhere and stay."""
    with stack.client() as client:
        kept = client.post("/v1/conversations", json={"metadata": {"kept": "yes"}}).json()["id"]
    before = active(kubectl)
    kubectl(f"-n={NAMESPACE}", "delete", "raycluster", "--all", "--wait=false")
    eventually(lambda: active(kubectl) not in ("", before), "there is another Ray cluster", 300, EVERY_S)
    assert healed(stack, HEALED_S)
    with stack.client() as client:
        assert client.get(f"/v1/conversations/{kept}").json()["metadata"] == {"kept": "yes"}


@pytest.mark.usefixtures("whole")
@pytest.mark.soak
def test_an_upgrade_in_place_needs_no_room_for_a_second_cluster(stack: ClusterStack, kubectl: Kubectl) -> None:
    """The old pods end before the new ones serve: a stream that runs is completed, and the service comes back."""
    before = active(kubectl)
    stream = LongStream(stack, 60)
    stream.start()
    eventually(lambda: stream.words >= 3, "the stream runs", 60)
    pools = [{**pool, "temporary_storage": "5Gi"} for pool in stack.settings()["pools"]]
    stack.change(upgrade="in_place", pools=pools)
    stack.run("up", "--yes")
    after = active(kubectl)
    assert after not in ("", before), "nothing was upgraded"
    assert kubectl(f"-n={NAMESPACE}", "get", "raycluster", "-o=name") == f"raycluster.ray.io/{after}"
    stream.end()
    assert not stream.problem
    assert stream.text.endswith("data: [DONE]\n\n")
    assert healed(stack, HEALED_S)
    stack.run("up", "--yes")
    assert active(kubectl) == after, "an `up` without changes replaces nothing"


def _head_is_back(kubectl: Kubectl, old: str) -> bool:
    found = [name for name in pods(kubectl, **{"ray.io__node-type": "head"}) if name != old]
    if not found:
        return False
    path = '-o=jsonpath={.status.conditions[?(@.type=="Ready")].status}'
    return kubectl(f"-n={NAMESPACE}", "get", "pod", found[0], path) == "True"
