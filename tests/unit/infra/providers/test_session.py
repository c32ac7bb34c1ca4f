import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.providers.session import Session, Stat, boot_id
from infra.resources.problem import Problem
from tests.wait import eventually

ENV = {"PATH": "/usr/bin:/bin"}
Sessions = Callable[..., Session]


def start(session: Session, script: str, tmp_path: Path) -> None:
    session.start(["sh", "-c", script], env=ENV, cwd=str(tmp_path), log=tmp_path / "log", fingerprint="f")


def test_a_started_session_is_found_again(sessions: Sessions, tmp_path: Path) -> None:
    start(sessions(), "exec sleep 60", tmp_path)
    again = Session(tmp_path / "run" / "it")
    assert again.alive
    assert again.spec["fingerprint"] == "f"
    assert again.leader is not None
    assert again.leader.pid == again.leader.session
    assert again.id == f"{again.leader.pid}:{again.leader.started}"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_end_reaches_every_process_of_the_session_even_without_its_leader(sessions: Sessions, tmp_path: Path) -> None:
    session = sessions()
    start(session, "sleep 60 & (trap '' TERM; while :; do sleep 0.1; done) & exec sleep 60", tmp_path)
    eventually(lambda: len(session.members()) >= 3, "all have started")
    assert session.leader is not None
    os.kill(session.leader.pid, signal.SIGKILL)
    eventually(lambda: not session.alive, "it has ended")
    pids = [p.pid for p in session.members()]
    assert len(pids) >= 2
    session.end(patience_s=0.3)
    assert [p for p in pids if Stat.read(p)] == []
    assert not session.folder.exists()


def test_a_reused_process_id_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        session = Session(tmp_path)
        fields = Path(f"/proc/{other.pid}/stat").read_text().split()
        fields[21] = str(int(fields[21]) - 1)  # recorded: a process of that id which started earlier
        (tmp_path / "stat").write_text(" ".join(fields))
        (tmp_path / "spec.json").write_text(json.dumps({"boot": boot_id(), "fingerprint": "f"}))
        assert not session.alive
        assert session.members() == []
        session.end(patience_s=0)
        assert other.poll() is None
        other.kill()


def test_records_from_before_a_reboot_are_ignored(sessions: Sessions, tmp_path: Path) -> None:
    session = sessions()
    start(session, "exec sleep 60", tmp_path)
    spec = session.folder / "spec.json"
    recorded = spec.read_text()
    spec.write_text(json.dumps({"boot": "another", "fingerprint": "f"}))
    assert not session.alive
    assert session.members() == []
    spec.write_text(recorded)


def test_a_missing_program_is_reported(sessions: Sessions, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="no-such-program is not an executable"):
        sessions().start(["no-such-program"], env=ENV, cwd=str(tmp_path), log=tmp_path / "log", fingerprint="")
