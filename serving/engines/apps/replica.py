"""A replica with an app as its child process, which serves runs over HTTP on the node's address."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

from serving.config import AppModel
from serving.engines.apps.confinement import KEY
from serving.engines.apps.packages import AppFiles, prepare
from serving.engines.child_program import ChildProgram
from serving.engines.replica import ProgramReplica, node_address


class AppFailed(RuntimeError):
    """An app did not start, or has ended; the message ends with its last output."""


class AppReplica(ProgramReplica):
    """One process of an app."""

    failure = AppFailed

    def __init__(self, config: AppModel, host: str | None = None) -> None:
        started = time.perf_counter()
        key = secrets.token_urlsafe(32)
        self._program = AppProcess(config, prepare(config), host or node_address(), key)
        super().__init__(
            "The app",
            config.name,
            prefix="app:",
            url=self._program.url,
            key=key,
            slots=config.runs,
            started=started,
        )


class AppProcess(ChildProgram):
    """A running app. Raises `AppFailed` if it does not start."""

    def __init__(self, config: AppModel, files: AppFiles, host: str, key: str) -> None:
        self._files = files
        self._scratch = tempfile.TemporaryDirectory(prefix="headrace-app-")
        ready = Path(self._scratch.name) / "ready"
        runs = json.dumps({"runs": config.runs, "timeout_s": config.timeout_s, "answer_nodes": config.answer_nodes})
        confined = ["serving.engines.apps.confinement", str(files.python), str(files.folder), self._scratch.name]
        app = ["-m", "headrace_apps", config.name, config.object, host, str(ready), runs]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        checkout = str(Path(__file__).parents[3])
        super().__init__(
            f"the app {config.name}",
            f"app {config.name}",
            [sys.executable, "-m", *confined, str(files.packages), *app],
            {**inherited, "PYTHONPATH": checkout, KEY: key},
        )
        try:
            self.url = self._await(ready, config.start_timeout_s)
        except BaseException:
            self.close()
            raise

    def _await(self, ready: Path, timeout_s: float) -> str:
        """Returns the app's address, which it writes to a file once its object is imported."""
        until = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(FileNotFoundError):
                return ready.read_text()
            if reason := self.ended():
                raise AppFailed(reason)
            if time.monotonic() > until:
                said = "\n".join(self.last_lines)
                raise AppFailed(f"{self.name} is not ready after {timeout_s:g} s; its last output:\n{said}")
            time.sleep(0.05)

    def close(self) -> None:
        """Terminates the app, and releases its files."""
        super().close()
        self._scratch.cleanup()
        self._files.close()
