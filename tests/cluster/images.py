"""Images of the tests: built here, loaded into both machines, named by digest."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from infra.programs import PROMETHEUS as PROGRAM
from tools.binaries.find import obtain
from tools.cluster import cluster
from tools.images import build
from tools.images.layer import Layer
from tools.images.oci import ImageConfig, without_layers, write_archive

PROMETHEUS = "docker.io/headrace/prometheus:1"


@dataclass(frozen=True)
class Image:
    """An image that the machines hold."""

    name: str
    digest: str

    @property
    def reference(self) -> str:
        return f"{self.name.rpartition(':')[0]}@{self.digest}"

    def settings(self) -> dict[str, str]:
        """As `headrace:image` says it."""
        registry, _, rest = self.name.partition("/")
        return {"registry": registry, "repository": rest.rpartition(":")[0], "digest": self.digest}


@dataclass(frozen=True)
class Images:
    serving: Image
    postgres: Image
    prometheus: Image


def load_images() -> Images:
    """Builds what the cache lacks, and loads all into the machines."""
    return Images(
        serving=_load(build.build("serving").archive),
        postgres=_load(build.build("postgres").archive),
        prometheus=_prometheus(),
    )


def second_version() -> Image:
    """The serving image with the same content under another digest, loaded; the machines have its layers already."""
    second = build.variant(build.build("serving"), "next").archive
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / second.name
        without_layers(second, archive)
        return _load(archive)


def _prometheus() -> Image:
    """Built here: a distribution's may lack the discovery of pods, as Debian's does."""
    binary = obtain(PROGRAM, own=True).files["prometheus"]
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "prometheus.tar"
        config = ImageConfig(entrypoint=["/prometheus"], user="65534:65534")
        write_archive(archive, PROMETHEUS, [Layer(binary, "/prometheus", mode=0o755)], config)
        return _load(archive)


def _load(archive: Path) -> Image:
    ((name, digest),) = cluster.load_archives([archive]).items()
    return Image(name, digest)
