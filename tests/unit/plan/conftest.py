import json
import runpy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime import config as runtime
from pulumi.runtime import mocks, rpc, settings
from pulumi.runtime.stack import run_pulumi_func

from infra.layout import CHECKOUT
from infra.providers import ports
from infra.targets import capacity_check, preflight, source_check
from tests.rendering.event_loop import event_loop
from tests.rendering.examples import KUBECONFIG
from tests.unit.plan import clouds
from tests.unit.plan.seal import SEAL

PORTS = {"api": 18080, "prometheus": 19090, "dashboard": 18265, "exporter": 19464}
"""Not the defaults, so that it shows which port went where."""

SECRET = rpc._special_secret_sig


@dataclass
class Planned:
    """One planned resource; secret inputs are under `secrets`, not under `inputs`."""

    urn: str
    token: str
    name: str
    inputs: dict[str, Any]
    secrets: dict[str, Any]
    secret_outputs: list[str]
    dependencies: list[str]
    parent: str = ""
    provider: str = ""
    protect: bool = False


@dataclass
class Plan:
    resources: dict[str, Planned] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Planned:
        """By name; a second one of a name is `TYPE NAME`."""
        return self.resources[name]


class Monitor(mocks.MockMonitor):
    """Records what the program registers, with what the stock monitor leaves out."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(_Echo())
        self._plan = plan
        self._lock = threading.Lock()

    def RegisterResource(self, request: Any) -> Any:
        values = rpc.deserialize_properties(request.object, keep_unknowns=True)
        secrets = {k: v["value"] for k, v in _raw(request.object).items() if _secret(v)}
        planned = Planned(
            urn=self.make_urn(request.parent, request.type, request.name),
            token=request.type,
            name=request.name,
            inputs={k: v for k, v in values.items() if k not in secrets},
            secrets=secrets,
            secret_outputs=list(request.additionalSecretOutputs),
            dependencies=sorted(urn.split("::")[-1] for urn in request.dependencies),
            # The stack itself is that of whatever was planned first in this process.
            parent="" if request.parent.split("::")[2:3] == ["pulumi:pulumi:Stack"] else request.parent.split("::")[-1],
            provider=request.provider.rpartition("::")[0].split("::")[-1],
            protect=request.protect,
        )
        with self._lock:  # Pulumi registers from several threads
            taken = request.name in self._plan.resources
            self._plan.resources[f"{request.type} {request.name}" if taken else request.name] = planned
        return super().RegisterResource(request)


class _Echo(mocks.Mocks):
    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        made = {
            "session": "1:2",
            "digest": "0123",
            "metrics_port": 11007,
            "haproxy_metrics_port": 11008,
            "value": "hr_made",
            "url": "http://made.svc.cluster.local",
            "kubeconfig": "made",
            "identifier": "0123",
        }
        return args.name, {**made, **clouds.outputs(args.typ, args.name, args.inputs)}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        if args.token not in clouds.CALLS:
            raise AssertionError(f"the program calls {args.token}")
        return clouds.CALLS[args.token], []


def _raw(struct: Any) -> dict[str, Any]:
    from google.protobuf import json_format

    return dict(json_format.MessageToDict(struct))


def _secret(value: Any) -> bool:
    return isinstance(value, dict) and value.get(rpc._special_sig_key) == SECRET


@contextmanager
def _host_with_room(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """A host on which every port is free and memory is plenty, whatever else runs here."""
    program = folder / "bin" / "prometheus"
    program.parent.mkdir(exist_ok=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ports, "occupant", lambda port, own: None)
        patch.setattr(preflight, "memory_needed", lambda config: 0)
        patch.setattr(source_check, "checks", lambda config, secrets: [])
        patch.setattr(capacity_check, "checks", lambda config, stack: [])
        patch.setattr("infra.targets.azure.access.wait_until_allowed", lambda kubeconfig: None)
        patch.setenv("PATH", str(program.parent), prepend=":")
        yield patch


def _plan(config: dict[str, Any], encrypted: tuple[str, ...] = (), preview: bool = False, stack: str = "local") -> Plan:
    config = config if "target" in config else {"ports": PORTS, **config}
    texts = {f"headrace:{k}": v if isinstance(v, str) else json.dumps(v) for k, v in config.items()}
    planned = Plan()
    with event_loop() as loop:
        mocks.set_mocks(_Echo(), project="headrace", stack=stack, preview=preview, monitor=Monitor(planned))
        runtime.set_all_config(texts, [f"headrace:{k}" for k in encrypted])
        settings.configure(settings.SETTINGS)

        def program() -> None:
            runpy.run_path(str(CHECKOUT / "infra" / "__main__.py"), run_name="__main__")

        loop.run_until_complete(run_pulumi_func(program))
    return planned


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Callable[..., Plan]]:
    """Plans the program with settings (without namespace); `encrypted` names those that are secrets."""
    with _host_with_room(tmp_path):
        yield _plan


@pytest.fixture(scope="session")
def plan_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Plan]:
    """Plans settings once for all who only read the plan, with no network, no other program and no credential."""
    folder = tmp_path_factory.mktemp("planned")

    @cache
    def planned(config: str, preview: bool, stack: str) -> Plan:
        with _host_with_room(folder) as patch, SEAL.closed(patch, folder):
            return _plan(json.loads(config), preview=preview, stack=stack)

    return lambda config, preview=False, stack="example": planned(json.dumps(config), preview, stack)


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a cluster that is not there."""
    file = tmp_path_factory.mktemp("cluster") / "kubeconfig"
    file.write_text(yaml.safe_dump(KUBECONFIG))
    return file


__all__ = ["Plan", "Planned", "pulumi"]
