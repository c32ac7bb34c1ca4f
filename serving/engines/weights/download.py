"""Fetches one file, goes on with what a killed process has written, and verifies the whole."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from pathlib import Path
from typing import BinaryIO

from serving.engines.weights.progress import FetchProgress, size
from serving.engines.weights.remote import Interrupted, Remote, RemoteFile, WeightsError

PARTIAL = ".part"
"""Suffix of a file until it is complete and verified."""
PAUSES_S = (1, 2, 4, 8, 15, 30, 30)
"""Pauses between attempts; any byte that arrives begins anew."""
BLOCK = 1 << 20


class Cancelled(Exception):
    """Another file cannot be fetched, so that this one is left as it is."""


def partial(target: Path) -> Path:
    """Returns where a file is until it is complete."""
    return target.with_name(target.name + PARTIAL)


def download(
    remote: Remote, file: RemoteFile, target: Path, progress: FetchProgress, cancelled: threading.Event
) -> None:
    """Fetches a file, of which some may be there already, and verifies it.

    Raises `WeightsError`; what has arrived is kept for the next attempt, unless its hash is wrong.
    """
    part = partial(target)
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as out:
            if out.tell() > file.size:
                out.truncate(0)
            at = out.tell()
            _complete(remote, file, at, out, progress, cancelled)
            out.flush()
            os.fsync(out.fileno())
        _verify(file, part, progress)
        part.replace(target)
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            left = file.size - part.stat().st_size
            problem = f"the disk of {part.parent} is full: {size(left)} of {file.name} are missing"
            raise WeightsError(f"{problem}; what has arrived is kept, and the next start continues from it") from None
        raise WeightsError(f"{part} cannot be written: {e.strerror or e}") from None


def _complete(
    remote: Remote, file: RemoteFile, at: int, out: BinaryIO, progress: FetchProgress, cancelled: threading.Event
) -> None:
    attempt = 0
    while at < file.size:
        try:
            for chunk in remote.read(file, at):
                if cancelled.is_set():
                    raise Cancelled
                if at + len(chunk) > file.size:
                    raise WeightsError(f"{file.name} of {remote.source} is longer than its {file.size} bytes")
                out.write(chunk)
                at += len(chunk)
                progress.add(len(chunk))
                attempt = 0 if chunk else attempt
            if at < file.size:
                raise Interrupted(f"{file.name} of {remote.source} ended after {at} of {file.size} bytes")
        except Interrupted as e:
            if attempt == len(PAUSES_S):
                raise WeightsError(f"{e}; given up after {attempt + 1} attempts, what has arrived is kept") from None
            out.flush()
            cancelled.wait(PAUSES_S[attempt])
            attempt += 1


def _verify(file: RemoteFile, part: Path, progress: FetchProgress) -> None:
    if file.sha256:
        kind, expected, digest = "SHA-256", file.sha256, hashlib.sha256()
    elif file.git_sha1:
        # Git's ids are SHA-1; they find what was damaged on the way.
        kind, expected = "Git id", file.git_sha1
        digest = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    else:
        return
    with part.open("rb") as content:
        while block := content.read(BLOCK):
            digest.update(block)
    if (found := digest.hexdigest()) != expected:
        part.unlink()
        progress.add(-file.size)
        raise WeightsError(
            f"the {kind} of {file.name} is {found}, not {expected}; what was fetched is deleted, "
            "and the next start fetches it again"
        )
