from __future__ import annotations

import hashlib
import resource
from pathlib import Path

import pytest

from serving.exports.folder import BeingWritten, ExportFolder, Occupied, abandoned


def test_folders_appear_atomically(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    with ExportFolder(target) as folder:
        folder.add("train.jsonl", b"1\n")
        folder.add("train.jsonl", b"2\n")
        assert not target.exists()
        folder.publish("manifest.json", b"{}")
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {
        "train.jsonl": b"1\n2\n",
        "manifest.json": b"{}",
    }
    lines = folder.files["train.jsonl"]
    assert (lines.rows, lines.size, lines.digest.hexdigest()) == (2, 4, hashlib.sha256(b"1\n2\n").hexdigest())
    assert list(target.parent.iterdir()) == [target]
    assert target.stat().st_mode & 0o777 == 0o700


def test_existing_empty_folders_are_accepted(tmp_path: Path) -> None:
    with ExportFolder(tmp_path) as folder:
        folder.publish("manifest.json", b"{}")
    assert (tmp_path / "manifest.json").is_file()


def test_failures_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), ExportFolder(tmp_path / "out") as folder:
        folder.add("train.jsonl", b"1\n")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_late_failures_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), ExportFolder(tmp_path / "out") as folder:
        folder.publish("manifest.json", b"{}")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_only_abandoned_folders_are_taken_over(tmp_path: Path) -> None:
    with ExportFolder(tmp_path / "out") as folder:
        folder.add("train.jsonl", b"1\n")
        with pytest.raises(BeingWritten, match="wait"), abandoned(folder.target, folder.id):
            pass
        assert len(list(tmp_path.iterdir())) == 2
        folder._locked.close()  # as the system does for a process that is killed
        with abandoned(folder.target, folder.id) as found:
            assert found
        assert list(tmp_path.iterdir()) == []
    with abandoned(folder.target, folder.id) as found:
        assert not found


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
        with pytest.raises(OSError, match="too large"), ExportFolder(tmp_path / "out") as folder:
            folder.add("train.jsonl", b"x" * 65)
            folder.publish("manifest.json", b"{}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "full", "link"])
def test_existing_folders_are_never_changed(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out"
    match kind:
        case "file":
            target.write_text("mine")
        case "full":
            target.mkdir()
            (target / "mine").touch()
        case "link":
            target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Occupied, match="name another"):
        ExportFolder(target)
    assert list(tmp_path.iterdir()) == [target]


def test_folders_created_meanwhile_are_never_changed(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with ExportFolder(target) as folder:
        target.mkdir()
        (target / "mine").touch()
        with pytest.raises(Occupied):
            folder.publish("manifest.json", b"{}")
    assert [path.name for path in target.iterdir()] == ["mine"]
    assert list(tmp_path.iterdir()) == [target]
