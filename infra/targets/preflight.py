"""What this host must have before a local stack is started."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from infra.config import StackConfig
from infra.mistakes import Mistake
from serving.config import LlamaCppModel


def cpus_needed(config: StackConfig) -> float:
    """CPUs that replicas reserve, with room for the largest application to be replaced without an outage."""
    gateway = config.gateway.replicas * config.gateway.cpus + config.retrieval.replicas * config.retrieval.cpus
    models = [m.replicas * m.cpus for m in config.models if isinstance(m, LlamaCppModel)]
    return gateway + sum(models) + max([gateway, *models])


def cpus(config: StackConfig) -> int:
    """CPUs that Ray is told to have. They are shares of a replica, not cores: more than cores is allowed."""
    return config.ray.cpus or max(2, os.cpu_count() or 1, math.ceil(cpus_needed(config) - 1e-9))


def memory_needed(config: StackConfig) -> int:
    """Bytes that the models need."""
    return sum(m.replicas * m.memory_bytes for m in config.models if isinstance(m, LlamaCppModel))


def mistakes(config: StackConfig, programs: Iterable[str]) -> list[Mistake]:
    """What the configuration asks for and this host does not have."""
    found = []
    needed = cpus_needed(config)
    if config.ray.cpus and config.ray.cpus < needed - 1e-9:
        problem = f"{config.ray.cpus} is less than the {needed:.1f} that all replicas and one replacement need"
        found.append(Mistake("ray.cpus", problem, "raise it, or lower replicas or cpus of what runs"))
    for i, model in enumerate(config.models):
        if isinstance(model, LlamaCppModel) and (problem := _missing(model.source)):
            found.append(Mistake(f"models[{i}].source", problem, "correct it, or install the weights"))
    for program in programs:
        if shutil.which(program) is None:
            found.append(Mistake("target", f"the program {program} is not on PATH", "run `make up` or `make tools`"))
    return found


def _missing(source: str) -> str:
    scheme, _, rest = source.partition("://")
    if scheme == "file":
        return "" if Path("/", rest).is_file() else f"there is no file /{rest.lstrip('/')}"
    module, _, name = rest.partition("/")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return f"the Python package {module} is not installed"
    folder = Path(next(iter(spec.submodule_search_locations)))
    return "" if (folder / name).is_file() else f"the Python package {module} ships no {name}"
