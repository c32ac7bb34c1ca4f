"""`make up MODEL=...`: a model of the list, whose file is fetched, or one behind an OpenAI-compatible URL."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import yaml

from infra.config import NAMESPACE
from infra.config_loader import LoadedConfig, load
from infra.layout import Layout
from infra.mistakes import report
from infra.providers.session import Session
from infra.targets.preflight import memory_needed
from tools.report import ToolError, say
from tools.stack import model_choice, model_weights
from tools.stack.backend import HOME
from tools.stack.model_list import GB, MODELS, ListedModel, fitting, table
from tools.stack.workspace import Workspace

MODEL, KEY, REMOTE_MODEL = "HEADRACE_MODEL", "HEADRACE_MODEL_KEY", "HEADRACE_REMOTE_MODEL"
"""Environment variables for MODEL=, KEY= and REMOTE_MODEL= of `make up`."""
PRIVATE = (KEY, "KEY", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS")
"""Variables that may contain the key, and that no process of the stack inherits."""
PINS = HOME / "models.json"
LIST = ("?", "list")
DEFAULT = "default"
RETURN = "`make up MODEL=default` returns to the stack's own"
VERSION = "is this the URL with the version, such as https://host/v1?"
TIMEOUT_S = 15


@dataclass(frozen=True)
class Request:
    """What the command line says about the model."""

    model: str
    key: str
    remote_model: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Request:
        """Returns what the variables of `make` say."""
        return cls(*(environment.get(name, "") for name in (MODEL, KEY, REMOTE_MODEL)))

    @property
    def remote(self) -> bool:
        """Whether the model is a URL."""
        return self.model.startswith(("http://", "https://"))


def check(workspace: Workspace, request: Request) -> bool:
    """Checks what was asked for, before anything is installed; returns False if that was the list, which it prints.

    Raises:
        ToolError: there is no such model, or it does not fit this host or this stack.
    """
    if (request.key or request.remote_model) and not request.remote:
        raise ToolError("KEY and REMOTE_MODEL are for MODEL=https://...")
    if not request.model:
        return True
    if workspace.target != "local":
        raise ToolError("MODEL is for stacks on this host; a stack on a cluster has its models in `headrace:models`")
    if request.model == DEFAULT:
        return True
    available = available_bytes(workspace)
    if request.model in LIST:
        print(table(available))
        return False
    if not request.remote:
        _check_size(_named(request.model, available), available)
    return True


def choose(workspace: Workspace) -> None:
    """Follows a request that `check` allows, and keeps the choice for later commands.

    Raises:
        ToolError: the model cannot be fetched, does not answer, or does not suit the stack's settings.
    """
    request = Request.from_environment(workspace.environment)
    for name in PRIVATE:
        workspace.environment.pop(name, None)
    folder = HOME / workspace.stack
    if not request.model:
        if chosen := model_choice.chosen_model(folder):
            say(f"model: {chosen['name']}, as chosen before; {RETURN}")
        return
    if request.model == DEFAULT:
        if model_choice.forget(folder):
            say("model: the stack's own again")
        return
    model = _remote(workspace, request) if request.remote else _listed(request.model, workspace.environment)
    _validate(workspace, model)
    model_choice.write(folder, model)
    say(f"model: {model['name']}, which later commands keep; {RETURN}")


def available_bytes(workspace: Workspace) -> float:
    """Returns the memory that a chosen model may use: what this host has left, and what a running stack has now."""
    own, defaults = workspace.file_settings, model_choice.project_defaults()
    layout = Layout.for_stack(workspace.stack, workspace.setting("state"))
    config = _loaded({**defaults, **own, model_choice.MODELS: model_choice.models_beside(own, defaults)}).config
    used = sum(_memory(process.pid) for process in Session(layout.record("ray")).members())
    return psutil.virtual_memory().available + used - memory_needed(config)


def _loaded(settings: Mapping[str, Any]) -> LoadedConfig:
    raw = {name.removeprefix(f"{NAMESPACE}:"): model_choice.plain(value) for name, value in settings.items()}
    return load(raw, frozenset(raw), "/secrets")  # which are not read


def _memory(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except psutil.Error:
        return 0


def _named(name: str, available: float) -> ListedModel:
    for model in MODELS:
        if model.name == name:
            return model
    raise ToolError(f"there is no model '{name}'; choose one of these, or an https:// URL:\n{table(available)}")


def _check_size(model: ListedModel, available: float) -> None:
    if model.memory_bytes > available:
        fits = ", ".join(fitting(available)) or "none of the list; MODEL=https://... uses one elsewhere"
        raise ToolError(
            f"{model.name} needs {model.memory_bytes / GB:.1f} GB of memory beside the rest of the stack, and"
            f" {max(available, 0) / GB:.1f} GB are left; what fits: {fits}"
        )


def _listed(name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    model = next(model for model in MODELS if model.name == name)
    fetched = model_weights.fetch(model, PINS, environment)
    return {
        "name": model.name,
        "engine": "llamacpp",
        "source": f"file://{fetched.path}",
        "sha256": fetched.pin.sha256,
        "context": model.context,
        "slots": model.slots,
        "threads": psutil.cpu_count(logical=False) or 1,
        "memory_bytes": model.memory_bytes,
        "grounded": model.grounded,
    }


def _remote(workspace: Workspace, request: Request) -> dict[str, Any]:
    url, name = request.model.rstrip("/"), request.remote_model
    if request.key and url.startswith("http://") and not _is_loopback(url):
        say(f"warning: the key is sent to {urlsplit(url).hostname} unencrypted; use https:// if it can")
    served = _served(url, request.key)
    if not name and len(served) != 1:
        names = f"it has {', '.join(served[:20])}{' and more' if served[20:] else ''}" if served else "it lists none"
        raise ToolError(f"{url}: name the model by REMOTE_MODEL=...; {names}")
    name = name or served[0]
    if served and name not in served:
        say(f"warning: {url} does not list the model '{name}'")
    model = {"name": _name(name), "engine": "remote", "url": url, "model": name}
    return {**model, "api_key": {"secure": _encrypted(workspace, request.key)}} if request.key else model


def _encrypted(workspace: Workspace, secret: str) -> str:
    """Returns a secret as Pulumi keeps it in the stack's settings; it is passed on in no argument and no file."""
    with tempfile.TemporaryDirectory(dir=HOME) as folder:
        file = Path(folder) / workspace.own_settings.name
        file.write_text(workspace.encryption)
        name = f"{NAMESPACE}:secret"
        options = ["--config-file", str(file), "--stack", workspace.stack]
        workspace.pulumi_output("config", "set", "--secret", name, *options, stdin=secret)
        return str(yaml.safe_load(file.read_text())["config"][name]["secure"])


def _served(url: str, key: str) -> list[str]:
    """Returns the names of an endpoint's models, none if it has no such list."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(f"{url}/models", headers=headers, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as e:
        raise ToolError(f"{url} cannot be reached: {e or type(e).__name__}") from None
    if answer.status_code in (401, 403):
        problem = "refuses the key" if key else "needs a key: KEY=..."
        raise ToolError(f"{url} {problem} (status {answer.status_code})")
    if answer.status_code in (404, 405, 501):
        return []
    if answer.status_code != 200:
        raise ToolError(f"{url}/models answers with status {answer.status_code}; {VERSION}")
    try:
        return [str(each["id"]) for each in answer.json()["data"]]
    except (ValueError, LookupError, TypeError):
        raise ToolError(f"{url}/models does not answer as OpenAI's API does; {VERSION}") from None


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _name(remote_model: str) -> str:
    """Returns a name in Headrace's format: the last part of the remote name."""
    name = re.sub(r"[^a-z0-9._-]+", "-", remote_model.rpartition("/")[2].lower())[:63].strip("._-")
    return name or "remote"


def _validate(workspace: Workspace, model: Mapping[str, Any]) -> None:
    """Reports mistakes that the choice would make in the stack's settings."""
    own, defaults = workspace.file_settings, model_choice.project_defaults()
    found = _loaded({**defaults, **model_choice.merged(own, defaults, model)}).mistakes
    before = {str(mistake) for mistake in _loaded({**defaults, **own}).mistakes}
    if mistakes := [mistake for mistake in found if str(mistake) not in before]:
        raise ToolError(report(mistakes))
