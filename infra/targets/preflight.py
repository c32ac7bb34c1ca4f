"""Checks this host before a local stack is started."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterable
from pathlib import Path

import psutil

from infra import apps
from infra.config import StackConfig
from infra.layout import Layout
from infra.mistakes import Mistake
from infra.providers import ports
from infra.providers.session import Session
from serving.config import LINKED_PROGRAM, TRAINING, HostedModel, LlamaCppModel, RayServeModel, VllmModel
from serving.config.serve_document import TUNING_CPUS

DEFAULT_CPUS = 1000
"""Logical CPUs of Ray if they are not configured."""


BASE_MEMORY_BYTES = 1_200_000_000
"""Memory that Ray and the gateway need without models."""


SESSION_RECORDS = ("ray", "exporter", "prometheus")
"""Names of a local stack's sessions."""


def cpus_needed(config: StackConfig) -> float:
    """Returns the CPUs for all replicas, plus what an update of the largest application adds."""
    gateway = config.gateway.replicas * config.gateway.cpus + config.retrieval.replicas * config.retrieval.cpus
    models = _hosted(config)
    tuning = TUNING_CPUS if config.tuning.enabled else 0
    running = gateway + tuning + sum(m.replicas * m.cpus for m in models)
    return running + max([gateway, *(m.surge(m.replicas) * m.cpus for m in models)])


def _hosted(config: StackConfig) -> list[HostedModel]:
    """Returns the models and apps that Ray Serve runs."""
    return [m for m in (*config.models, *apps.unpacked(config)) if isinstance(m, RayServeModel)]


def logical_cpus(config: StackConfig) -> int:
    """Returns Ray's logical CPUs, from which replicas reserve shares, and which are not cores.

    The default does not depend on the models, since Ray must be restarted to change the number.
    """
    return config.ray.cpus or DEFAULT_CPUS


def memory_needed(config: StackConfig) -> int:
    """Returns the memory of the whole stack in bytes."""
    models = sum(m.replicas * m.host_memory_bytes for m in _hosted(config))
    return BASE_MEMORY_BYTES + config.ray.object_store_bytes + models


def mistakes(config: StackConfig, layout: Layout, programs: Iterable[str]) -> list[Mistake]:
    """Reports what the configuration requires and this host lacks."""
    return [
        *_cpus(config),
        *_memory(config, layout),
        *_ports(config, layout),
        *_weights(config),
        *_programs(programs),
        *_vllm(config),
        *_tuning(config),
    ]


def _cpus(config: StackConfig) -> list[Mistake]:
    needed = cpus_needed(config)
    if logical_cpus(config) >= needed - 1e-9:
        return []
    problem = f"{logical_cpus(config)} is less than the {needed:.1f} that all replicas need during an update"
    return [Mistake("ray.cpus", problem, "raise it, or lower replicas or cpus of models, gateway or retrieval")]


def _memory(config: StackConfig, layout: Layout) -> list[Mistake]:
    needed, available = memory_needed(config), psutil.virtual_memory().available
    if available >= needed or Session(layout.record("ray")).alive:
        return []
    problem = f"they and Ray need about {needed / 1e9:.1f} GB of memory, but {available / 1e9:.1f} GB are available"
    return [Mistake("models", problem, "end other programs, or use fewer or smaller models")]


def _ports(config: StackConfig, layout: Layout) -> list[Mistake]:
    own = {p.pid for record in SESSION_RECORDS for p in Session(layout.record(record)).members()}
    wanted = config.ports.model_dump(exclude={"ray"})
    return [
        Mistake(f"ports.{name}", f"{port} is used by {occupant}", "stop it, or choose another port")
        for name, port in wanted.items()
        if (occupant := ports.occupant(port, own))
    ]


def _weights(config: StackConfig) -> list[Mistake]:
    return [
        Mistake(f"models[{i}].source", problem, "correct it, or install the weights")
        for i, model in enumerate(config.models)
        if isinstance(model, LlamaCppModel) and (problem := _missing_weights(model.source))
    ]


def _programs(programs: Iterable[str]) -> list[Mistake]:
    return [
        Mistake("target", f"the program {program} is not on PATH", "run `make up` or `make tools`")
        for program in programs
        if shutil.which(program) is None
    ]


def _vllm(config: StackConfig) -> list[Mistake]:
    if shutil.which("vllm") or LINKED_PROGRAM.exists():
        return []
    return [
        Mistake(f"models[{i}].engine", "the program vllm is not on this host", "run `make vllm`")
        for i, model in enumerate(config.models)
        if isinstance(model, VllmModel)
    ]


def _tuning(config: StackConfig) -> list[Mistake]:
    if not config.tuning.enabled or (TRAINING / "bin" / "python").exists():
        return []
    return [Mistake("tuning.enabled", "the training environment is not on this host", "run `make tuning`")]


def _missing_weights(source: str) -> str:
    scheme, _, rest = source.partition("://")
    if scheme == "file":
        return "" if Path("/", rest).is_file() else f"there is no file /{rest.lstrip('/')}"
    module, _, name = rest.partition("/")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return f"the Python package {module} is not installed"
    folder = Path(next(iter(spec.submodule_search_locations)))
    return "" if (folder / name).is_file() else f"the Python package {module} does not contain {name}"
