"""Files are changed only where they differ, and become again what they were."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.onprem.template import read_file

Sh = Callable[..., str]


@pytest.fixture
def sh(tmp_path: Path) -> Sh:
    """Runs a script with the library, whose state lies in a folder of the test's."""
    (tmp_path / "state").mkdir()
    library = read_file("library.sh").replace("/var/lib/headrace", str(tmp_path / "state"))

    def run(script: str, *arguments: str | Path, input: str = "") -> str:
        command = ["sh", "-ec", f"{library}\n{script}", "sh", *map(str, arguments)]
        return subprocess.run(command, input=input, capture_output=True, text=True, check=True).stdout.strip()

    return run


def write(sh: Sh, path: Path, content: str, mode: str = "644") -> bool:
    return sh('write "$1" "$2"', path, mode, input=content) == "changed"


def listing(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (path.read_text() if path.is_file() else "", path.lstat().st_mode)
        for path in folder.rglob("*")
    }


def test_unchanged_files_are_not_rewritten(sh: Sh, tmp_path: Path) -> None:
    file = tmp_path / "etc/it.conf"
    assert write(sh, file, "one\n")
    before = file.stat().st_mtime_ns
    assert not write(sh, file, "one\n")
    assert file.stat().st_mtime_ns == before
    assert write(sh, file, "one\n", "600")
    assert file.stat().st_mode & 0o777 == 0o600
    assert write(sh, file, "two\n")
    assert file.read_text() == "two\n"


def test_originals_are_restored(sh: Sh, tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    (etc / "sub").mkdir(parents=True)
    (etc / "there 100%.conf").write_text("theirs\n")
    (etc / "there 100%.conf").chmod(0o640)
    (etc / "link").symlink_to("there 100%.conf")
    before = listing(etc)
    for content in ("ours\n", "ours again\n"):
        write(sh, etc / "there 100%.conf", content)
        write(sh, etc / "new/deep/it.conf", content)
        sh('name=other; keep "$1"; ln -sfn "$name" "$1"', etc / "link")
        assert (etc / "link").readlink() == Path("other")
    assert listing(etc) != before
    for name in ("there 100%.conf", "new/deep/it.conf", "link"):
        sh('restore "$1"', etc / name)
    sh('sort -r "$state/folders" | while read -r path; do rmdir "$path"; done')
    assert listing(etc) == before
    assert (etc / "link").readlink() == Path("there 100%.conf")
    sh('restore "$1"', etc / "there 100%.conf")  # a second time nothing happens
    assert listing(etc) == before


def test_a_cut_in_the_middle_loses_nothing(sh: Sh, tmp_path: Path) -> None:
    """The copy is complete before the file changes; half a copy is none."""
    file = tmp_path / "it.conf"
    file.write_text("theirs\n")
    (tmp_path / "state/new.1").write_text("thei")
    (tmp_path / "it.conf.headrace-new").write_text("ou")
    write(sh, file, "ours\n")
    assert file.read_text() == "ours\n"
    sh('restore "$1"', file)
    assert file.read_text() == "theirs\n"
