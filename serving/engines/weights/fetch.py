"""Fetches the weights of a model into the folder that replicas share, or finds them there."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from serving.engines.weights.download import Cancelled, download
from serving.engines.weights.hub import Hub
from serving.engines.weights.progress import FetchProgress, size
from serving.engines.weights.remote import Interrupted, Listing, Remote, WeightsError
from serving.engines.weights.shared_folder import SourceFolder, StoredWeights, WeightsVersion

FOLDER = "HEADRACE_WEIGHTS"
"""Environment variable with the folder that replicas share."""
SUMS = "SHA256SUMS"
_SUM = re.compile(r"([0-9a-f]{64}) [ *](?:\./)?(.+)")
"""A line of `sha256sum`."""
AT_ONCE = 4
"""Files that are fetched at the same time."""


def shared_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Returns the folder that replicas share: that of the pool's volume, or one in the home folder."""
    return Path(environment.get(FOLDER) or Path.home() / ".cache" / "headrace" / "weights")


def remote(source: str, token: str | None = None, endpoint: str | None = None, region: str | None = None) -> Remote:
    """Returns the source that a URI names; `token` are the credentials for it."""
    if source.startswith("hf://"):
        return Hub(source, token, endpoint)
    from serving.engines.weights.bucket import BucketFolder  # which the Hub does not need, and is slow to import

    return BucketFolder(source, token, endpoint, region)


def fetch(origin: Remote, root: Path, progress: FetchProgress, sha256: str | None = None) -> StoredWeights:
    """Returns the weights in the folder `root`, after fetching what is missing.

    `sha256` is that of the source's file `SHA256SUMS`. Raises `WeightsError`.
    """
    folder = SourceFolder(root, origin.source)
    with folder.locked(lambda: progress.say("another replica fetches them; waiting for it")):
        if origin.pinned and (version := folder.version(origin.pinned)).complete():
            return _use(version, progress, sha256)
        try:
            listing = origin.list()
        except Interrupted as e:
            # Replicas start also while the source is down, with what they had.
            for version in folder.versions():
                if version.complete():
                    progress.say(f"{e}; using the files that were fetched before")
                    return _use(version, progress, sha256)
            raise
        version = folder.version(listing.version)
        if not version.complete():
            _fetch(origin, listing, folder, version, progress, sha256)
        used = _use(version, progress, sha256)
        folder.remove_others(version)
        return used


def _use(version: WeightsVersion, progress: FetchProgress, sha256: str | None) -> StoredWeights:
    listing = version.listing
    assert listing is not None, "a complete version has a manifest"
    if sha256:
        _check(listing, version.path / SUMS, sha256)
    progress.begin(listing.size, listing.size)
    return version.use()


def _fetch(
    origin: Remote,
    listing: Listing,
    folder: SourceFolder,
    version: WeightsVersion,
    progress: FetchProgress,
    sha256: str | None,
) -> None:
    version.record(listing)
    folder.carry_over(listing, version)
    present = version.present(listing)
    folder.make_room(listing.size - present, version)
    progress.begin(listing.size, present)
    cancelled = threading.Event()
    if sha256 or any(file.name == SUMS for file in listing.files):
        listing = _with_sums(origin, listing, version, progress, sha256)
        version.record(listing)

    def one(number: int) -> None:
        file = listing.files[number]
        if version.contains(file) or cancelled.is_set():
            return
        try:
            download(origin, file, version.path / file.name, progress, cancelled)
        except BaseException:
            cancelled.set()
            raise

    with ThreadPoolExecutor(AT_ONCE) as threads:
        done = [threads.submit(one, number) for number in range(len(listing.files))]
    errors = [error for each in done if (error := each.exception()) is not None]
    if errors:
        raise next((error for error in errors if not isinstance(error, Cancelled)), errors[0])
    progress.say(f"complete: {size(listing.size)} in {version.path}")


def _with_sums(
    origin: Remote, listing: Listing, version: WeightsVersion, progress: FetchProgress, sha256: str | None
) -> Listing:
    """Fetches the file with the other files' SHA-256, and returns the listing with hashes that the source lacks."""
    target = version.path / SUMS
    for file in listing.files:
        if file.name == SUMS and not version.contains(file):
            download(origin, file, target, progress, threading.Event())
    lines = target.read_text(encoding="utf-8", errors="replace").splitlines() if target.exists() else []
    known = {match[2]: match[1] for line in lines if (match := _SUM.fullmatch(line))}
    files = (f if f.sha256 or f.git_sha1 else replace(f, sha256=known.get(f.name, "")) for f in listing.files)
    listing = replace(listing, files=tuple(files))
    if sha256:
        _check(listing, target, sha256)
    return listing


def _check(listing: Listing, sums: Path, sha256: str) -> None:
    """Checks the hashes themselves against the model's `sha256`, and that no file is without one."""
    try:
        found = hashlib.sha256(sums.read_bytes()).hexdigest()
    except OSError:
        raise WeightsError(f"the weights have no file {SUMS}, whose hash the model's `sha256` is") from None
    if found != sha256:
        sums.unlink()
        raise WeightsError(f"the SHA-256 of {SUMS} is {found}, not the model's `sha256` {sha256}; it is deleted")
    if missing := [file.name for file in listing.files if not file.sha256 and file.name != SUMS]:
        raise WeightsError(f"{SUMS} does not name {missing[0]}, whose content is therefore unknown")
