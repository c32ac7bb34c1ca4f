"""The file of a listed model: fetched once into the cache, by the revision and hash that its first fetch recorded."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serving.engines.weights.download import download, partial
from serving.engines.weights.hub import Hub
from serving.engines.weights.progress import FetchProgress, size
from serving.engines.weights.remote import RemoteFile, WeightsError
from tools import cache
from tools.report import ToolError
from tools.stack.model_list import ListedModel

ENDPOINT = "HF_ENDPOINT"
"""Environment variable with the URL of a mirror of the hub, as Hugging Face's own programs read it."""
TOKEN = "HF_TOKEN"  # noqa: S105 (a name)
HINT = f"{ENDPOINT} can name a mirror"


@dataclass(frozen=True)
class Pin:
    """What a model was when it was first fetched, and must be ever after."""

    source: str
    """The repository with its commit, as `hf://organisation/name@commit`."""
    file: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Fetched:
    """A file that is there, and verified when it was fetched; replicas verify it again when they load it."""

    path: Path
    pin: Pin


def fetch(model: ListedModel, pins: Path, environment: Mapping[str, str] = os.environ) -> Fetched:
    """Returns the model's file from the cache, after fetching what is missing of it.

    `pins` is the file that records revisions and hashes. Raises `ToolError`; what has arrived is kept, unless its hash
    is wrong.
    """
    with cache.lock("models"):
        recorded = _recorded(pins)
        pin = _pin(recorded, model, pins)
        if pin is not None and (path := _path(pin)).is_file() and path.stat().st_size == pin.size:
            return Fetched(path, pin)
        try:
            pin = _download(model, pin, environment)
        except WeightsError as e:
            raise ToolError(f"{model.name} cannot be fetched: {e}; {HINT}") from None
        if recorded.get(model.name) != asdict(pin):
            _record(pins, {**recorded, model.name: asdict(pin)})
        return Fetched(_path(pin), pin)


def _download(model: ListedModel, pin: Pin | None, environment: Mapping[str, str]) -> Pin:
    hub = Hub(
        pin.source if pin else f"hf://{model.repository}",
        environment.get(TOKEN) or None,
        environment.get(ENDPOINT) or None,
        select=list,
    )
    listing = hub.list()
    found = next((file for file in listing.files if file.name == model.file), None)
    if found is None:
        raise WeightsError(f"{hub.source} has no file {model.file}")
    if not found.sha256:
        raise WeightsError(f"{hub.source} states no SHA-256 of {model.file}")
    if model.sha256 not in ("", found.sha256):
        raise WeightsError(
            f"{hub.source} states SHA-256 {found.sha256} of {model.file}, and Headrace's list has {model.sha256}: "
            "a mirror has another file, or its author has changed it; choose another model of MODEL=list"
        )
    if pin and (found.sha256, found.size) != (pin.sha256, pin.size):
        raise WeightsError(
            f"{pin.source} states SHA-256 {found.sha256} and {found.size} bytes of {model.file}; when it was first "
            f"fetched, these were {pin.sha256} and {pin.size}"
        )
    pin = pin or Pin(f"hf://{model.repository}@{listing.version}", found.name, found.size, found.sha256)
    target = _path(pin)
    target.parent.mkdir(parents=True, exist_ok=True)
    there = _arrived_bytes(target)
    if (free := shutil.disk_usage(target.parent).free) < pin.size - there:
        raise ToolError(
            f"{model.name} cannot be fetched: the disk of {target.parent} has {size(free)} free, and "
            f"{size(pin.size - there)} are missing; make room, or set HEADRACE_CACHE to a folder of another disk"
        )
    progress = FetchProgress(model.name)
    progress.begin(pin.size, there)
    download(hub, RemoteFile(pin.file, pin.size, pin.sha256, pin.sha256), target, progress, threading.Event())
    return pin


def _path(pin: Pin) -> Path:
    # Named by its hash: parts of another version are never taken for parts of this one.
    return cache.root() / "models" / pin.sha256 / Path(pin.file).name


def _arrived_bytes(target: Path) -> int:
    part = partial(target)
    return part.stat().st_size if part.exists() else 0


def _recorded(pins: Path) -> dict[str, Any]:
    try:
        recorded = json.loads(pins.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise _damaged(pins) from None
    if not isinstance(recorded, dict):
        raise _damaged(pins)
    return recorded


def _pin(recorded: Mapping[str, Any], model: ListedModel, pins: Path) -> Pin | None:
    if model.name not in recorded:
        return None
    try:
        pin = Pin(**recorded[model.name])
    except TypeError:
        raise _damaged(pins) from None
    if not (re.fullmatch(r"[0-9a-f]{64}", str(pin.sha256)) and isinstance(pin.size, int)):
        raise _damaged(pins)
    return pin if pin.source.startswith(f"hf://{model.repository}@") and pin.file == model.file else None


def _damaged(pins: Path) -> ToolError:
    return ToolError(
        f"{pins} records the hashes of models and is damaged; restore it, or delete it to trust models anew"
    )


def _record(pins: Path, recorded: Mapping[str, Any]) -> None:
    fresh = pins.with_suffix(".new")
    pins.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh.write_text(json.dumps(recorded, indent=2) + "\n")
    fresh.replace(pins)
