"""What this host must have before a local stack is started."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterable
from pathlib import Path

import psutil

from infra.config import StackConfig
from infra.mistakes import Mistake
from infra.providers import ports
from infra.providers.session import Session
from infra.targets.layout import Layout
from serving.config import LlamaCppModel

DEFAULT_CPUS = 1000
"""Logical CPUs of a Ray whose size is not configured."""


BASE_MEMORY_BYTES = 1_200_000_000
"""Memory that Ray and the gateway need before any model."""


SESSION_RECORDS = ("ray", "exporter", "prometheus", "status")
"""Sessions of a local stack."""


def cpus_needed(config: StackConfig) -> float:
    """CPUs that replicas reserve, with room for the largest application to be replaced without an outage."""
    gateway = config.gateway.replicas * config.gateway.cpus + config.retrieval.replicas * config.retrieval.cpus
    models = [m.replicas * m.cpus for m in config.models if isinstance(m, LlamaCppModel)]
    return gateway + sum(models) + max([gateway, *models])


def logical_cpus(config: StackConfig) -> int:
    """CPUs that Ray is told to have: shares of replicas in its books, not cores.

    The default does not follow the models, since Ray must be restarted to be told another number.
    """
    return config.ray.cpus or DEFAULT_CPUS


def memory_needed(config: StackConfig) -> int:
    """Bytes that the whole stack needs."""
    models = sum(m.replicas * m.memory_bytes for m in config.models if isinstance(m, LlamaCppModel))
    return BASE_MEMORY_BYTES + config.ray.object_store_bytes + models


def mistakes(config: StackConfig, layout: Layout, programs: Iterable[str]) -> list[Mistake]:
    """What the configuration asks for and this host does not have."""
    return [*_cpus(config), *_memory(config, layout), *_ports(config, layout), *_weights(config), *_programs(programs)]


def _cpus(config: StackConfig) -> list[Mistake]:
    needed = cpus_needed(config)
    if logical_cpus(config) >= needed - 1e-9:
        return []
    problem = f"{logical_cpus(config)} is less than the {needed:.1f} that all replicas and one replacement need"
    return [Mistake("ray.cpus", problem, "raise it, or lower replicas or cpus of what runs")]


def _memory(config: StackConfig, layout: Layout) -> list[Mistake]:
    needed, available = memory_needed(config), psutil.virtual_memory().available
    if available >= needed or Session(layout.record("ray")).alive:
        return []
    problem = f"they and Ray need about {needed / 1e9:.1f} GB of memory and {available / 1e9:.1f} GB are available"
    return [Mistake("models", problem, "end other programs, or have fewer or smaller models")]


def _ports(config: StackConfig, layout: Layout) -> list[Mistake]:
    own = {p.pid for record in SESSION_RECORDS for p in Session(layout.record(record)).members()}
    wanted = config.ports.model_dump(exclude={"ray"})
    return [
        Mistake(f"ports.{name}", f"{port} is taken by {who}", "stop it, or choose another port")
        for name, port in wanted.items()
        if (who := ports.occupant(port, own))
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


def _missing_weights(source: str) -> str:
    scheme, _, rest = source.partition("://")
    if scheme == "file":
        return "" if Path("/", rest).is_file() else f"there is no file /{rest.lstrip('/')}"
    module, _, name = rest.partition("/")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return f"the Python package {module} is not installed"
    folder = Path(next(iter(spec.submodule_search_locations)))
    return "" if (folder / name).is_file() else f"the Python package {module} ships no {name}"
