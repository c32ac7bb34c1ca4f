"""The distribution `headrace` in an environment of its own, with its locked packages and nothing of a checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from serving.config import Catalog
from tests.contract.running import Loop, gateway
from tools import environment, package_index
from tools.release import __main__ as release
from tools.release import wheel

ROOT = Path(__file__).parents[3]
ASK = """\
import json, sys
from pathlib import Path
import headrace
stack = headrace.connect(sys.argv[1], Path(sys.argv[2]).read_text())
try:
    stack.get("/conversations/none")
except headrace.StackRefused as e:
    print(json.dumps([headrace.__file__, stack.get("/me"), e.status, e.message]))
stack.close()
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return wheel.build(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The folder of the programs of a new environment."""
    place = tmp_path_factory.mktemp("installed")
    uv = str(Path(sys.executable).with_name("uv"))

    def run(*command):
        done = subprocess.run(command, env=package_index.uv_environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    run(uv, "venv", "--quiet", "--python", sys.executable, str(place))
    python = str(place / "bin" / "python")
    run(uv, "pip", "install", "--python", python, "--require-hashes", "-r", str(ROOT / "requirements" / "client.txt"))
    # Without an index: all that the wheel needs is there.
    run(uv, "pip", "install", "--python", python, "--no-index", str(built))
    return place / "bin"


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    with Loop() as loop, gateway(loop, tmp_path_factory.mktemp("gateway"), Catalog()) as up:
        yield up


def call(folder, *command, **more):
    """Runs a program of the new environment where nothing of a checkout can be imported."""
    names = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HEADRACE"))}
    return subprocess.run(
        [str(folder / command[0]), *command[1:]], env={**names, **more}, cwd=folder, capture_output=True, text=True
    )


def test_it_has_what_its_entries_import_and_nothing_else(built):
    assert built.name.startswith("headrace-")
    with zipfile.ZipFile(built) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        [metadata] = [archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA")]
    files = {str(file.relative_to(ROOT)) for file in wheel.modules(ROOT).values()}
    assert names == {*files, "headrace/py.typed", "serving/py.typed"}
    assert {"serving/cli/keys.py", "serving/config/base.py", "headrace/__init__.py"} < names
    assert not [name for name in names if name.startswith(("serving/api/", "serving/engines/", "infra/", "tools/"))]
    assert "Requires-Dist: click>=8.2" in metadata
    assert "License-Expression: Apache-2.0" in metadata


def test_a_commit_has_one_wheel(built, tmp_path):
    """Whatever the times of the files in its checkout are, and the rights that its builder gives to new files."""
    copy = tmp_path / "checkout"
    for file in (*wheel.modules(ROOT).values(), *(ROOT / name for name in wheel.BESIDE)):
        place = copy / file.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
    before = os.umask(0o077)
    try:
        assert wheel.build(copy, tmp_path / "out").read_bytes() == built.read_bytes()
    finally:
        os.umask(before)


def test_programs_that_its_modules_start_are_in_it():
    modules = wheel.modules(ROOT)
    started = {name for file in modules.values() for name in re.findall(r'"-m",\s+"(serving[\w.]*)"', file.read_text())}
    assert "serving.assistants.sandbox.worker" in started
    assert started <= modules.keys()


def test_the_release_prints_its_path(capsys, tmp_path, built):
    assert release.main(["wheel", "--output", str(tmp_path)]) == 0
    assert Path(capsys.readouterr().out.strip()) == tmp_path / built.name


def test_every_command_explains_itself(installed):
    """With the packages that are always there: each of them was imported."""
    said = call(installed, "headrace", "--help")
    assert (said.returncode, said.stderr) == (0, "")
    listed = said.stdout.partition("Commands:")[2].partition("Examples:")[0]
    commands = set(re.findall(r"^  ([a-z]+)  ", listed, re.MULTILINE))
    assert {"audit", "evaluate", "hub", "keys", "quotas", "requests", "usage", "whoami"} <= commands
    for command in commands - {"export"}:
        assert call(installed, "headrace", command, "--help").returncode == 0, command


def test_a_command_asks_a_stack(installed, up):
    said = call(installed, "headrace", "whoami", "--json", HEADRACE_URL=up.url, HEADRACE_API_KEY=up.key)
    assert said.returncode == 0, said.stderr
    assert "platform" in json.loads(said.stdout)["scopes"]
    made = call(installed, "headrace", "--url", up.url, "tenants", "create", "acme", "--json", HEADRACE_API_KEY=up.key)
    assert json.loads(made.stdout)["id"] == "acme"


def test_the_client_asks_a_stack(installed, up, tmp_path):
    (tmp_path / "ask.py").write_text(ASK)
    (tmp_path / "key").write_text(up.key)
    said = call(installed, "python", "-P", str(tmp_path / "ask.py"), up.url, str(tmp_path / "key"))
    assert said.returncode == 0, said.stderr
    file, me, status, message = json.loads(said.stdout)
    assert Path(file).is_relative_to(installed.parent)
    assert me["scopes"]
    assert (status, message) == (404, "There is no such conversation. (404)")


def test_what_is_not_installed_is_told_in_one_line(installed, up, tmp_path):
    (tmp_path / "suite.yaml").write_text("name: s\nprompts: [{id: a, prompt: Hi?, expect: {contains: [x]}}]\n")
    key = {"HEADRACE_URL": up.url, "HEADRACE_API_KEY": up.key}
    said = call(installed, "headrace", "usage", "--forecast", **key)
    lacking = "Error: This command needs packages that are not installed (numpy): pip install 'headrace[full]'.\n"
    assert (said.returncode, said.stderr) == (1, lacking)
    said = call(installed, "headrace", "evaluate", "--suite", str(tmp_path / "suite.yaml"), "--model", "m", **key)
    assert (said.returncode, said.stderr.count("\n")) == (1, 1)
    assert said.stderr.endswith("pip install 'headrace[full]'.\n")
    said = call(installed, "headrace", "export", "--format", "trl-preference", "--out", "x")
    assert (said.returncode, said.stderr.count("\n")) == (1, 1)
    assert "run it on the stack's host" in said.stderr


def test_its_environment_has_few_packages(installed):
    """Fewer than a stack: the locked ones and what they bring."""
    [packages] = installed.parent.glob("lib/python*/site-packages")
    found = {path.name for path in packages.glob("*.dist-info")}
    locked = environment.REQUIREMENTS / "client.txt"
    assert len(found) <= len([line for line in locked.read_text().splitlines() if line[:1].isalpha()]) + 1
    assert len(found) < 20
