"""The documents in a Git repository, at one commit, read by the program `git`."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from serving.ingest.api import IngestError
from serving.ingest.collection import IngestRefused
from serving.ingest.source import Inventory, is_document, report_skipped

GIT_S = 1800
"""Maximum time in seconds of one call of git."""

_PROTOCOLS = "file:http:https:ssh"
_FILES = ("100644", "100755")
"""Modes of files; links and submodules have others."""
_LFS = b"version https://git-lfs.github.com/spec/"


class RepositorySource:
    """Files of a repository below a folder; their versions are the ids of their blobs."""

    def __init__(self, where: str, ref: str, subfolder: str, *, every_kind: bool, say: Callable[[str], None]) -> None:
        """Lists the files of the commit that `ref` is now; `where` is a path, or git+ and a URL.

        Raises `IngestError` when this fails, or nothing is found.
        """
        for option, value in (("--ref", ref), ("--subfolder", subfolder)):
            if value.startswith("-") or ":" in value or "\0" in value:
                raise IngestError(f"{option}: '{value}' is not valid")
        self._where = where
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        url = where.removeprefix("git+")
        if url == where:
            self._repository, commit = where, ref
        else:
            self._temporary = tempfile.TemporaryDirectory(prefix="headrace-git-")
            self._repository, commit = self._temporary.name, "FETCH_HEAD"
            self._git("init", "--quiet", "--bare")
            self._git("fetch", "--quiet", "--depth=1", "--no-tags", "--", url, ref)
        self._blobs: dict[str, str] = {}
        left_out = []
        tree = f"{commit}^{{commit}}" if not subfolder.strip("/") else f"{commit}:{subfolder.strip('/')}"
        id = self._git("rev-parse", "--verify", "--end-of-options", tree).decode().strip()
        for entry in self._git("ls-tree", "-r", "-z", "--long", "--full-tree", id).split(b"\0")[:-1]:
            fields, _, name = entry.partition(b"\t")
            mode, _, blob, size = fields.decode().split()
            path = name.decode("utf-8", "replace")
            if mode not in _FILES or any(part.startswith(".") for part in path.split("/")):
                continue
            if int(size) and (every_kind or is_document(path)):
                self._blobs[path] = blob
            else:
                left_out.append(path)
        report_skipped(left_out, say)
        if not self._blobs:
            raise IngestError(f"{where} contains no documents")

    def listing(self, known: Mapping[str, str]) -> Inventory:
        return Inventory(self._blobs)

    def read(self, path: str, version: str) -> bytes:
        content = self._git("cat-file", "blob", version)
        if content.startswith(_LFS):
            raise IngestRefused("is a pointer of Git LFS, whose content is not in the repository")
        return content

    def _git(self, *arguments: str) -> bytes:
        """Runs git in the repository; it asks for no password. Raises `IngestError`."""
        # C: messages in English. A local repository's own settings are not to start other programs.
        settings = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": _PROTOCOLS, "LC_ALL": "C"}
        try:
            done = subprocess.run(
                ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments],
                cwd=Path(self._repository),
                env={**os.environ, **settings},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=GIT_S,
            )
        except FileNotFoundError as e:
            missing = "the folder does not exist" if e.filename != "git" else "the program git is not installed"
            raise IngestError(f"{self._where} cannot be read: {missing}") from None
        except (OSError, subprocess.TimeoutExpired) as e:
            raise IngestError(f"{self._where} cannot be read: {e}") from None
        if done.returncode:
            reason = " ".join(done.stderr.decode("utf-8", "replace").split())[:300]
            raise IngestError(f"{self._where} cannot be read: {reason}")
        return done.stdout
