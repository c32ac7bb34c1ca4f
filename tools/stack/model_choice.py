"""The model that `make up MODEL=...` chose for a stack, as the settings `models`, `assistants` and `aliases`.

The choice is a model like any other in `headrace:models`. It takes the place of the packaged one, and is merged into
the copy of the stack's settings that Pulumi reads; the stack's own file is not changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from infra.config import NAMESPACE
from infra.layout import CHECKOUT
from tools.report import ToolError, say

FILE = "model.yaml"
"""Name of the choice in a stack's folder."""
PACKAGED = "package://"
MODELS, ASSISTANTS, ALIASES = (f"{NAMESPACE}:{name}" for name in ("models", "assistants", "aliases"))

Settings = dict[str, Any]
"""Settings by their names with namespace."""


def chosen_model(folder: Path) -> dict[str, Any] | None:
    """Returns the chosen model of the stack with this folder; None if it has its own."""
    try:
        chosen = yaml.safe_load((folder / FILE).read_text())
    except FileNotFoundError:
        return None
    if not isinstance(chosen, dict) or "name" not in chosen:
        raise ToolError(f"{folder / FILE} is damaged; `make up MODEL=default` deletes it")
    return chosen


def write(folder: Path, model: Mapping[str, Any]) -> None:
    """Keeps the choice, all or nothing; the key of a remote model is encrypted in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = folder / f"{FILE}.new"
    fresh.write_text(yaml.safe_dump(dict(model), sort_keys=False))
    fresh.replace(folder / FILE)


def forget(folder: Path) -> bool:
    """Deletes the choice, and returns whether there was one."""
    existed = (folder / FILE).exists()
    (folder / FILE).unlink(missing_ok=True)
    return existed


def merged(own: Mapping[str, Any], defaults: Mapping[str, Any], model: Mapping[str, Any]) -> Settings:
    """Returns a stack's own settings with `model` in the place of the packaged model, also in assistants and aliases.

    `defaults` are the project's settings, which apply where the stack has none. Raises `ToolError` if the stack has no
    packaged model.
    """
    models = _list(own, defaults, MODELS)
    at = _packaged(models)
    replaced, name = models[at].get("name"), model["name"]
    models[at] = dict(model)
    settings = {**own, MODELS: models}
    for setting in (ASSISTANTS, ALIASES):
        entries = _list(own, defaults, setting)
        changed = [_renamed(entry, replaced, name) for entry in entries]
        if changed != entries:
            settings[setting] = changed
    return settings


def merged_text(text: str, folder: Path) -> str:
    """Returns the text of a stack's settings file with the choice in `folder`; the same text if there is none."""
    if (model := chosen_model(folder)) is None:
        return text
    document = yaml.safe_load(text) or {}
    try:
        settings = merged(document.get("config") or {}, project_defaults(), model)
    except ToolError as e:
        # The choice is older than the settings; `make down` must work all the same.
        say(f"warning: the chosen model {model['name']} is not used: {e}")
        return text
    return yaml.safe_dump({**document, "config": settings}, sort_keys=False, allow_unicode=True)


def models_beside(own: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[Any]:
    """Returns the models of a stack that stay beside a choice; raises `ToolError` as `merged` does."""
    models = _list(own, defaults, MODELS)
    del models[_packaged(models)]
    return models


def project_defaults() -> Settings:
    """Returns the settings that apply where a stack has none, by their names with namespace."""
    declared = yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text())["config"]
    return {name: setting["default"] for name, setting in declared.items() if name.startswith(f"{NAMESPACE}:")}


def plain(value: Any) -> Any:
    """Returns settings as Pulumi passes them to its program, with the ciphertext in the place of each secret."""
    if isinstance(value, dict):
        return value["secure"] if value.keys() == {"secure"} else {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def _list(own: Mapping[str, Any], defaults: Mapping[str, Any], setting: str) -> list[Any]:
    value = own.get(setting, defaults.get(setting))
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []


def _packaged(models: Iterable[Any]) -> int:
    for i, model in enumerate(models):
        packaged = isinstance(model, dict) and str(model.get("source", "")).startswith(PACKAGED)
        if packaged and model.get("task", "chat") == "chat":
            return i
    raise ToolError(
        "MODEL=... replaces a packaged model, but the stack's settings have none; change its `headrace:models` instead"
    )


def _renamed(entry: Any, old: str, new: str) -> Any:
    """Returns an assistant or alias, or a part of one, with the model's new name."""
    if isinstance(entry, list):
        return [_renamed(each, old, new) for each in entry]
    if not isinstance(entry, dict):
        return entry
    names = {key: new for key in ("model", "base", "pin") if entry.get(key) == old}
    parts = {key: _renamed(entry[key], old, new) for key in ("targets", "managed") if key in entry}
    return {**entry, **names, **parts}
