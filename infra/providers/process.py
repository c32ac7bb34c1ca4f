"""A host process, such as Prometheus or the metrics exporter."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from infra.providers.session import Session
from infra.resources.problem import Ended, Interrupted, Problem
from infra.resources.resource import Found, Resource, Task, Values, fingerprint, strings

LOG_TAIL = 15
"""Number of lines of its log that are shown when a process fails."""


def tail(log: Path, lines: int = LOG_TAIL) -> str:
    """Returns the last lines of a log, indented for display below a message."""
    try:
        text = log.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return ""
    return "".join(f"\n    {line}" for line in text)


def wait_ready(session: Session, url: str, log: Path, task: Task, *, name: str, seconds: float) -> None:
    """Waits until `url` answers with status 200 or 401.

    Raises:
        Ended: The process ended before.
        Problem: The URL does not answer in time.
    """
    start = time.monotonic()
    while True:
        try:
            if httpx.get(url, timeout=5, trust_env=False).status_code in (200, 401):
                return
        except httpx.HTTPError:
            pass
        if not session.alive:
            raise Ended(f"{name} exited during its start; its log {log} says:{tail(log)}")
        if time.monotonic() - start > seconds:
            raise Problem(f"{name} is not ready after {seconds:.0f} s; its log {log} says:{tail(log)}")
        task.pause(0.1)


def write_files(files: Mapping[str, str]) -> None:
    for path, text in files.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        Path(path).write_text(text)


class ProcessProvider(Resource):
    """Inputs: `argv` and `env` (without secrets), `cwd`, `record` (folder), `log`, `ready` (URL), `files` (path
    -> text, written before the start).

    Output: `session`, which identifies this run of the process.
    """

    replace_on = frozenset({"record"})
    computed = frozenset({"session"})

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        session = Session(Path(new["record"]))
        log = Path(new["log"])
        digest = fingerprint({k: new.get(k) for k in ("argv", "env", "cwd", "files")})
        if not (session.alive and session.spec.get("fingerprint") == digest):
            session.end()
            write_files(strings(new.get("files")))
            env = strings(new.get("env"))
            session.start(new["argv"], env=env, cwd=new["cwd"], log=log, fingerprint=digest)
        name = session.folder.name
        try:
            wait_ready(session, new["ready"], log, task, name=name, seconds=60)
        except Interrupted:
            raise
        except Problem:
            session.end()
            raise
        return new["record"], {**new, "session": session.id}

    def read(self, id: str, old: Values) -> Found:
        session = Session(Path(id))
        if not session.alive:
            return Found()
        return Found(id, {**old, "session": session.id})

    def delete(self, id: str, old: Values, task: Task) -> None:
        Session(Path(id)).end()
        for path in strings(old.get("files")):
            Path(path).unlink(missing_ok=True)
