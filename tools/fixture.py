"""`python -m tools.fixture`: writes the fixture that later versions must come `up` on.

It holds what a stack of this version leaves on a host: Pulumi's state, the database and data folder, the secrets
(made for it and used nowhere else) and the rendered configuration, with placeholders for what differs by host.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import tomllib
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import httpx
import yaml

from infra.config_loader import load
from infra.targets.layout import CHECKOUT, Layout
from tools import find, stack
from tools.report import ToolError, say
from tools.workspace import Workspace

FIXTURES = CHECKOUT / "tests/fixtures"
NAME = "test-release"
"""The stack's name stands in every URN of the state: the test that comes up on it uses the same."""
PORTS = {"api": 47_811, "prometheus": 47_812, "dashboard": 47_813, "exporter": 47_814, "status": 47_815, "ray": 0}
DOCUMENTS = {
    "canal.md": "# Canal\n\nThe upper lock of Arvel is emptied on the first Sunday of March.\n",
    "mill.md": "# Mill\n\nThe mill of Arvel grinds oats for the northern villages.\n",
}
UPLOADED = ("ferry.md", "# Ferry\n\nThe ferry of Arvel carries eleven carts.\n")
SECRETS = {
    "secrets/api_key": "hr_" + "of-a-release-fixture-".ljust(43, "0"),
    "secrets/ray_token": "of-a-release-fixture-".ljust(43, "1"),
    "data/key_secret": "of-a-release-fixture-".ljust(43, "2"),
}
KEPT = ("headrace.db", "key_secret", "files", "collections")


def places(layout: Layout) -> dict[str, str]:
    """What stands for each placeholder on this host, the longest first."""
    prometheus = str(find.ensure(["prometheus"])["prometheus"].resolve())
    found = {"@STATE@": layout.state, "@TEMP@": layout.temp, "@PROMETHEUS@": prometheus, "@CHECKOUT@": CHECKOUT}
    return {name: str(value) for name, value in found.items()}


def relocatable(text: str, layout: Layout) -> str:
    """Puts placeholders for this host's paths."""
    for name, value in places(layout).items():
        text = text.replace(value, name)
    return text


def relocated(text: str, layout: Layout, ports: Mapping[str, int]) -> str:
    """Puts this host's paths, and other ports than the fixture's."""
    for name, value in places(layout).items():
        text = text.replace(name, value)
    for name, port in PORTS.items():
        text = text.replace(str(port), str(ports[name])) if port else text
    return text


def settings(folder: Path) -> dict[str, object]:
    """The fixture's stack: the default model, and an assistant over two documents."""
    documents = (folder / "documents").relative_to(CHECKOUT).as_posix()
    assistant = {"name": "docs", "model": "smollm2", "knowledge": ["docs"], "temperature": 0, "max_tokens": 60}
    return {
        "ports": PORTS,
        "assistants": [assistant],
        "knowledge": [{"name": "docs", "paths": [documents]}],
    }


def write(folder: Path) -> None:
    """Brings a stack up, takes what it leaves into `folder`, and purges it."""
    workspace, layout = Workspace.of(NAME), Layout.for_stack(NAME)
    file = CHECKOUT / f"Pulumi.{NAME}.yaml"
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in {f"documents/{k}": v for k, v in DOCUMENTS.items()}.items():
        _text(folder / name, text)
    for name, text in SECRETS.items():
        _text(layout.state / name, text)
    wanted = settings(folder)
    file.write_text(yaml.safe_dump({"config": {f"headrace:{k}": v for k, v in wanted.items()}}, sort_keys=False))
    try:
        _check(stack.up(workspace, []))
        _text(folder / "uploaded.json", json.dumps(_upload(), indent=1))
        state = workspace.ask("stack", "export", "--show-secrets", "--stack", NAME)
        _check(stack.down(workspace, []))
        _take(folder, layout, state, wanted)
    finally:
        stack.purge(workspace, [])
        file.unlink(missing_ok=True)


def _check(status: int) -> None:
    if status:
        raise ToolError("the fixture's stack did not come up or down; see above")


def _upload() -> dict[str, str]:
    name, text = UPLOADED
    headers = {"Authorization": f"Bearer {SECRETS['secrets/api_key']}"}
    url = f"http://127.0.0.1:{PORTS['api']}/v1/files"
    form = {"purpose": "assistants"}
    answer = httpx.post(url, headers=headers, data=form, files={"file": (name, text)}, trust_env=False)
    return {"id": str(answer.raise_for_status().json()["id"]), "text": text}


def _take(folder: Path, layout: Layout, state: str, wanted: Mapping[str, object]) -> None:
    deployment = json.loads(relocatable(state, layout))
    del deployment["deployment"]["secrets_providers"]
    resources = deployment["deployment"]["resources"]
    for resource in resources:
        for where in ("sourcePosition", "stackTrace"):  # lines of this host's Python
            resource.pop(where, None)
    [application] = [r for r in resources if r["type"] == "headrace:index:ServeApplication"]
    config = load({k: json.dumps(v) for k, v in wanted.items()}, frozenset(), "@STATE@/secrets").config
    _text(folder / "pulumi.json", json.dumps(deployment, indent=1))
    _text(folder / "settings.yaml", yaml.safe_dump(dict(wanted), sort_keys=False))
    _text(folder / "stack-config.json", json.dumps(config.model_dump(mode="json"), indent=1))
    _text(folder / "serve.json", json.dumps(application["inputs"]["document"], indent=1))
    for name, text in SECRETS.items():
        _text(folder / name, text)
    with closing(sqlite3.connect(layout.data / "headrace.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("VACUUM")
    for name in KEPT:
        source = layout.data / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / "data" / name)


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text(text.rstrip() + "\n" if path.suffix else text)


def main() -> int:
    """Writes the fixture of this version."""
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    folder = FIXTURES / f"release-{version}"
    try:
        write(folder)
    except ToolError as e:
        say(f"error: {e}")
        return 1
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(f"{folder.relative_to(CHECKOUT)}: {size // 1024} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
