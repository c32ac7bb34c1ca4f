import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.wait import eventually
from tools import cache


def make(folder: Path) -> None:
    (folder / "alpha").write_text("one")


def installed(folder: Path) -> dict[str, Path]:
    folder.parent.mkdir(exist_ok=True)
    return cache.install(folder, ["alpha"], make)


def test_install_puts_an_executable_file_in_place_and_read_finds_it(cache_root: Path) -> None:
    files = installed(cache_root / "alpha-1")
    assert files == {"alpha": cache_root / "alpha-1" / "alpha"}
    assert files == cache.installed_files(cache_root / "alpha-1", ["alpha"])
    assert files["alpha"].stat().st_mode & 0o777 == 0o755
    assert sorted(file.name for file in cache_root.iterdir()) == ["alpha-1"]


def test_missing_folders_are_no_error(cache_root: Path) -> None:
    assert cache.installed_files(cache_root / "alpha-1", ["alpha"]) is None


@pytest.mark.parametrize("damage", ["content", "file", "manifest", "broken manifest", "name"])
def test_damage_is_noticed(cache_root: Path, damage: str) -> None:
    folder = cache_root / "alpha-1"
    installed(folder)
    match damage:
        case "content":
            (folder / "alpha").write_text("two")
        case "file":
            (folder / "alpha").unlink()
        case "manifest":
            (folder / cache.MANIFEST).unlink()
        case "broken manifest":
            (folder / cache.MANIFEST).write_text("[")
        case "name":
            (folder / cache.MANIFEST).write_text(json.dumps({"beta": "0"}))
    with pytest.raises(cache.DamagedFileError, match=r"alpha|manifest|JSON"):
        cache.installed_files(folder, ["alpha"])


def test_a_failed_install_leaves_nothing_and_keeps_what_was_there(cache_root: Path) -> None:
    installed(cache_root / "alpha-1")

    def fail(folder: Path) -> None:
        (folder / "alpha").write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.install(cache_root / "alpha-1", ["alpha"], fail)
    assert [file.name for file in cache_root.iterdir()] == ["alpha-1"]
    assert (cache_root / "alpha-1" / "alpha").read_text() == "one"


def test_install_cleans_up_after_killed_runs(cache_root: Path) -> None:
    (cache_root / ".alpha-1-killed").mkdir(parents=True)
    (cache_root / ".alpha-1-killed.log").touch()
    (cache_root / ".beta-1-running").mkdir()
    (cache_root / "alpha-1").mkdir()
    (cache_root / "alpha-1" / "old").touch()
    installed(cache_root / "alpha-1")
    assert sorted(file.name for file in cache_root.iterdir()) == [".beta-1-running", "alpha-1"]
    assert not (cache_root / "alpha-1" / "old").exists()


KILLED = """\
import os, subprocess
from tools import cache
with cache.lock("alpha"):
    child = subprocess.{start}
    print(getattr(child, "pid", ""), flush=True)
    os.kill(os.getpid(), 9)
"""


def killed(start: str) -> str:
    """What one that held the lock said before it was killed."""
    done = subprocess.run([sys.executable, "-c", KILLED.format(start=start)], stdout=subprocess.PIPE, text=True)
    assert done.returncode == -9
    return done.stdout.strip()


def test_the_lock_of_a_killed_holder_is_free(capsys: pytest.CaptureFixture[str]) -> None:
    killed("run(['true'])")
    with cache.lock("alpha"):
        assert capsys.readouterr().err == ""


def test_the_lock_of_a_killed_holder_is_held_until_its_children_have_ended(capsys: pytest.CaptureFixture[str]) -> None:
    child = int(killed("Popen(['sleep', '300'], close_fds=False, stdout=2)"))
    held = threading.Event()

    def hold() -> None:
        with cache.lock("alpha"):
            held.set()

    waiting = threading.Thread(target=hold)
    waiting.start()
    try:
        eventually(lambda: capsys.readouterr().err == "alpha: another process is obtaining it, waiting\n", "it waits")
        assert not held.is_set()
    finally:
        os.kill(child, signal.SIGKILL)
        waiting.join()
    assert held.is_set()


def test_links_change_folder_when_a_target_changes(tmp_path: Path) -> None:
    first = cache.link({"alpha": tmp_path / "1", "beta": tmp_path / "2"})
    assert {file.name: file.readlink() for file in first.iterdir()} == {
        "alpha": tmp_path / "1",
        "beta": tmp_path / "2",
    }
    assert cache.link({"beta": tmp_path / "2", "alpha": tmp_path / "1"}) == first
    assert cache.link({"alpha": tmp_path / "1", "beta": tmp_path / "3"}) != first
    assert (first / "beta").readlink() == tmp_path / "2"
