"""`python -m tools.fixture`: writes the fixture of a release, on which the tests bring up later versions.

It contains what a stack of this version leaves on a host: Pulumi's state, the database and data folder, the secrets
(made for the fixture and used nowhere else) and the rendered configuration, with placeholders for paths of the host.
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
from infra.layout import CHECKOUT, Layout
from tools.binaries import find
from tools.report import ToolError, say
from tools.stack import verbs
from tools.stack.workspace import Workspace

FIXTURES = CHECKOUT / "tests/fixtures"
NAME = "test-release"
"""The stack's name, which is part of every URN in the state: the test that upgrades the fixture uses the same name."""
PORTS = {"api": 47_811, "prometheus": 47_812, "dashboard": 47_813, "exporter": 47_814, "ray": 0}
DOCUMENTS = {
    "canal.md": "# Canal\n\nThe upper lock of Arvel is emptied on the first Sunday of March.\n",
    "mill.md": "# Mill\n\nThe mill of Arvel grinds oats for the northern villages.\n",
}
UPLOADED_FILE = ("ferry.md", "# Ferry\n\nThe ferry of Arvel carries eleven carts.\n")
SECRETS = {
    "secrets/api_key": "hr_" + "of-a-release-fixture-".ljust(43, "0"),
    "secrets/ray_token": "of-a-release-fixture-".ljust(43, "1"),
    "data/key_secret": "of-a-release-fixture-".ljust(43, "2"),
}
DATA_FILES = ("headrace.db", "key_secret", "files", "collections")


def placeholders(layout: Layout) -> dict[str, str]:
    """Returns the values of the placeholders on this host, in the order in which they are replaced."""
    prometheus = str(find.ensure(["prometheus"])["prometheus"].resolve())
    found = {"@STATE@": layout.state, "@TEMP@": layout.temp, "@PROMETHEUS@": prometheus, "@CHECKOUT@": CHECKOUT}
    return {name: str(value) for name, value in found.items()}


def with_placeholders(text: str, layout: Layout) -> str:
    """Replaces this host's paths by placeholders."""
    for name, value in placeholders(layout).items():
        text = text.replace(value, name)
    return text


def without_placeholders(text: str, layout: Layout, ports: Mapping[str, int]) -> str:
    """Replaces placeholders by this host's paths, and the fixture's ports by `ports`."""
    for name, value in placeholders(layout).items():
        text = text.replace(name, value)
    for name, port in PORTS.items():
        text = text.replace(str(port), str(ports[name])) if port else text
    return text


def settings(folder: Path) -> dict[str, object]:
    """Returns the settings of the fixture's stack: the default model, and an assistant over two documents."""
    documents = (folder / "documents").relative_to(CHECKOUT).as_posix()
    assistant = {"name": "docs", "model": "smollm2", "knowledge": ["docs"], "temperature": 0, "max_tokens": 60}
    return {
        "ports": PORTS,
        "assistants": [assistant],
        "knowledge": [{"name": "docs", "paths": [documents]}],
    }


def write(folder: Path) -> None:
    """Brings a stack up and down, collects what it leaves into `folder`, and purges it."""
    workspace, layout = Workspace.prepare(NAME), Layout.for_stack(NAME)
    file = CHECKOUT / f"Pulumi.{NAME}.yaml"
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in {f"documents/{k}": v for k, v in DOCUMENTS.items()}.items():
        _write_text(folder / name, text)
    for name, text in SECRETS.items():
        _write_text(layout.state / name, text)
    wanted = settings(folder)
    file.write_text(yaml.safe_dump({"config": {f"headrace:{k}": v for k, v in wanted.items()}}, sort_keys=False))
    try:
        _require_success(verbs.up(workspace, []))
        _write_text(folder / "uploaded.json", json.dumps(_upload(), indent=1))
        state = workspace.pulumi_output("stack", "export", "--show-secrets", "--stack", NAME)
        _require_success(verbs.down(workspace, []))
        _collect(folder, layout, state, wanted)
    finally:
        verbs.purge(workspace, [])
        file.unlink(missing_ok=True)


def _require_success(status: int) -> None:
    if status:
        raise ToolError("the fixture's stack did not come up or down; see above")


def _upload() -> dict[str, str]:
    name, text = UPLOADED_FILE
    headers = {"Authorization": f"Bearer {SECRETS['secrets/api_key']}"}
    url = f"http://127.0.0.1:{PORTS['api']}/v1/files"
    form = {"purpose": "assistants"}
    answer = httpx.post(url, headers=headers, data=form, files={"file": (name, text)}, trust_env=False)
    return {"id": str(answer.raise_for_status().json()["id"]), "text": text}


def _collect(folder: Path, layout: Layout, state: str, wanted: Mapping[str, object]) -> None:
    deployment = json.loads(with_placeholders(state, layout))
    del deployment["deployment"]["secrets_providers"]
    resources = deployment["deployment"]["resources"]
    for resource in resources:
        for key in ("sourcePosition", "stackTrace"):  # paths of this host's Python
            resource.pop(key, None)
    [application] = [r for r in resources if r["type"] == "headrace:index:ServeApplication"]
    config = load({k: json.dumps(v) for k, v in wanted.items()}, frozenset(), "@STATE@/secrets").config
    _write_text(folder / "pulumi.json", json.dumps(deployment, indent=1))
    _write_text(folder / "settings.yaml", yaml.safe_dump(dict(wanted), sort_keys=False))
    _write_text(folder / "stack-config.json", json.dumps(config.model_dump(mode="json"), indent=1))
    _write_text(folder / "serve.json", json.dumps(application["inputs"]["document"], indent=1))
    for name, text in SECRETS.items():
        _write_text(folder / name, text)
    with closing(sqlite3.connect(layout.data / "headrace.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute("VACUUM")
    for name in DATA_FILES:
        source = layout.data / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / "data" / name)


def _write_text(path: Path, text: str) -> None:
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
