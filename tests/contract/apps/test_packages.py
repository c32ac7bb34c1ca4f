"""An app's own packages: installed by hash into an environment of its own, once for all replicas of a node."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from infra import apps
from serving.config import App, AppModel
from serving.engines.apps.packages import InstallError, prepare
from serving.engines.apps.replica import AppFailed, AppReplica

ROOT = Path(__file__).parents[3]
SMALL = re.search(r"^idna==.*?(?=^\w)", (ROOT / "requirements/serving.txt").read_text(), re.MULTILINE | re.DOTALL)[0]


def model(folder: Path, object: str, requirements: str | None = None) -> AppModel:
    if requirements is not None:
        (folder / "requirements.txt").write_text(requirements)
    app = App(name="own", object=object, folder=".", requirements="requirements.txt" if requirements else None)
    return AppModel(
        name="own",
        object=object,
        archive=base64.b64encode(apps.archive(app, folder)).decode(),
        installs=requirements is not None,
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path / "cache"))
    made = tmp_path / "app"
    made.mkdir()
    (made / "own.py").write_text("import idna\n\n\ndef where(messages):\n    return idna.__file__\n")
    return made


def test_locked_packages_are_installed_once(folder: Path) -> None:
    found = prepare(model(folder, "own:where", SMALL))
    assert (found.folder / "own.py").is_file()
    assert list(found.packages.glob("lib/python*/site-packages/idna"))
    assert not list(found.packages.glob("lib/python*/site-packages/ray")), "it has none of the platform's packages"
    (found.packages / "mark").touch()
    assert prepare(model(folder, "own:where", SMALL)) == found
    assert (found.packages / "mark").exists()
    replica = AppReplica(model(folder, "own:where", SMALL), host="127.0.0.1")
    replica.close()


def test_another_hash_is_not_installed(folder: Path) -> None:
    with pytest.raises(InstallError, match="the requirements of own cannot be installed"):
        prepare(model(folder, "own:where", re.sub("sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", SMALL)))


def test_a_failed_import_is_reported_in_the_last_line(folder: Path) -> None:
    (folder / "broken.py").write_text("import a_module_that_is_not_there\n")
    with pytest.raises(AppFailed) as failed:
        AppReplica(model(folder, "broken:graph"), host="127.0.0.1")
    assert str(failed.value).splitlines()[-1] == (
        "AppImportError: broken:graph of the app own cannot be used: "
        "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"
    )
