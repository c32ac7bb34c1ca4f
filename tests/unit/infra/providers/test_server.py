import asyncio
import signal
import subprocess
import sys
from typing import Any

from pulumi.provider.experimental import provider as protocol
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.runtime import rpc

from infra.layout import CHECKOUT
from infra.providers.__main__ import KINDS
from infra.providers.server import Provider, from_property_value, to_property_value
from infra.resources.problem import Problem
from infra.resources.resource import UNKNOWN, Found, Resource, Task, Values

URN = "urn:pulumi:s::p::headrace:local:Stack$headrace:index:Thing::name"


class Quiet:
    def log(self, urn: str, message: str) -> None:
        return


class Thing(Resource):
    secret_outputs = frozenset({"key"})
    computed = frozenset({"port"})

    def check(self, new: Values) -> dict[str, str]:
        if new["size"] == 0:
            raise Problem("too small; make it larger")
        return {}

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        return "id", {**new, "key": "planted", "port": 1}

    def read(self, id: str, old: Values) -> Found:
        return Found()


def provider() -> Provider:
    quiet: Any = Quiet()
    return Provider({"headrace:index:Thing": Thing()}, quiet)


def test_type_tokens_are_for_ever() -> None:
    assert sorted(KINDS) == [
        "headrace:index:InferenceEndpoint",
        "headrace:index:Knowledge",
        "headrace:index:KubernetesCluster",
        "headrace:index:KubernetesNode",
        "headrace:index:Machine",
        "headrace:index:Process",
        "headrace:index:RandomSecret",
        "headrace:index:RayClusterUpgrade",
        "headrace:index:RayHead",
        "headrace:index:Secret",
        "headrace:index:ServeApplication",
    ]


def test_values_survive_both_ways() -> None:
    value = {"a": [1, 2.5, "x", None, True], "b": {"c": UNKNOWN}}
    assert from_property_value(to_property_value(value)) == value
    assert isinstance(from_property_value(to_property_value(3)), int)


def test_secret_inputs_and_outputs_stay_secret() -> None:
    properties = {"size": to_property_value(1), "token": PropertyValue("planted", is_secret=True)}
    created = asyncio.run(provider().create(protocol.CreateRequest(URN, properties, 0, False)))
    assert created.resource_id == "id"
    secret = {k for k, v in created.properties.items() if v.is_secret}
    assert secret == {"key", "token"}


def test_a_preview_makes_nothing_and_leaves_outputs_unknown() -> None:
    created = asyncio.run(provider().create(protocol.CreateRequest(URN, {"size": to_property_value(1)}, 0, True)))
    assert created.resource_id is None
    assert created.properties["port"].value == rpc.UNKNOWN


def test_a_problem_in_check_is_a_failure_and_no_traceback() -> None:
    checked = asyncio.run(provider().check(protocol.CheckRequest(URN, {}, {"size": to_property_value(0)}, b"")))
    assert checked.failures is not None
    assert [f.reason for f in checked.failures] == ["too small; make it larger"]


def test_deleted_resources_have_no_id() -> None:
    assert asyncio.run(provider().read(protocol.ReadRequest(URN, "id", {}, {}))).resource_id is None


def test_an_idle_provider_ends_when_the_engine_interrupts_it() -> None:
    """Pulumi waits 5 s for one that does not, at the end of every command."""
    argv = [sys.executable, "-m", "infra.providers", "127.0.0.1:9"]
    with subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 0
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
