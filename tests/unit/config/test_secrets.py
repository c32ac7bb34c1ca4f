"""Secrets that replicas read: the value itself, never an old one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from serving.config import SecretRef, base


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Secret as a pod sees it, not yet as a changed one that the replica is told to expect."""
    (tmp_path / "api-key").write_text("old\n")
    (tmp_path / "revision").write_text("1")
    monkeypatch.setenv("HEADRACE_SECRETS_REVISION", "2")
    return tmp_path


def reference(folder: Path) -> SecretRef:
    return SecretRef(ref=f"file:{folder}/api-key")


def test_a_replica_waits_for_the_changed_secret(mounted: Path) -> None:
    read: list[str] = []
    replica = threading.Thread(target=lambda: read.append(reference(mounted).read()))
    replica.start()
    replica.join(0.2)
    assert replica.is_alive()
    assert not read
    (mounted / "api-key").write_text("new\n")
    (mounted / "revision").write_text("2")
    replica.join(120)
    assert read == ["new"]


def test_a_missing_secret_times_out_without_leaking(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "REVISION_WAIT_S", 0)
    with pytest.raises(LookupError, match="are of revision 1, not yet of 2") as raised:
        reference(mounted).read()
    assert "old" not in str(raised.value)


def test_known_revisions_are_read_at_once(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that runs is not held up by the next change."""
    (mounted / "revision").write_text("2\n")
    assert reference(mounted).read() == "old"
    (mounted / "revision").write_text("3\n")
    monkeypatch.setattr(base, "REVISION_WAIT_S", 0)
    assert reference(mounted).read() == "old"


def test_a_secret_without_a_revision_is_not_waited_for(mounted: Path) -> None:
    (mounted / "revision").unlink()
    assert reference(mounted).read() == "old"


def test_a_file_alone_needs_no_revision(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_SECRETS_REVISION")
    assert reference(mounted).read() == "old"
