"""Builds images from their Dockerfiles, unless their inputs have not changed."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools import cache
from tools.images import oci, package_index, sbom
from tools.images.base import NAME as BASE
from tools.images.base import base_image
from tools.images.buildah import Buildah, check
from tools.report import say

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = "docker.io"


@dataclass(frozen=True)
class Recipe:
    """The inputs of an image: paths in the checkout that rarely change (`packages`) and that often change (`code`)."""

    packages: tuple[str, ...]
    code: tuple[str, ...] = ()


RECIPES = {
    "serving": Recipe(
        packages=("requirements/serving.txt", "requirements/weights.txt", "tools/weights.py"), code=("serving",)
    ),
    "postgres": Recipe(packages=("images/postgres/start.sh",)),
}


@dataclass(frozen=True)
class Image:
    """A built image: its archive and bill of materials, its name in the archive, and its digest."""

    archive: Path
    bill: Path
    name: str
    digest: str


def local_name(name: str) -> str:
    """Returns the image's name in its layer store."""
    return f"localhost/headrace-{name}:built"


def layers(name: str) -> Buildah:
    """Returns the store with an image's layers."""
    return Buildah(cache.root() / f"image-{name}-layers-{_packages_digest(name)}")


def build(name: str) -> Image:
    """Returns the image of `images/NAME/Dockerfile` from the cache, or builds it; its tag is a digest of its inputs.

    Raises:
        ToolError: this host cannot build images, or the build failed.
    """
    tag = digest(ROOT, [*RECIPES[name].code, "tools/images"], _packages_digest(name))
    file = cache.root() / f"image-{name}-{tag}.tar"
    if not file.exists():
        check()
        with cache.lock(f"image-{name}"):
            if not file.exists():
                _build(name, file, tag, layers(name))
    return _built_image(file)


def variant(image: Image, label: str) -> Image:
    """Returns an image with the same content but another digest and tag, like those of a next version."""
    file = image.archive.with_name(f"{image.archive.stem}-{label}.tar")
    with cache.lock("image-variant"):
        if not file.exists():
            labels = {"org.opencontainers.image.version": label}
            oci.relabel(image.archive, file, f"{image.name}-{label}", labels)
            shutil.copy(image.bill, _bill(file))
    return _built_image(file)


def clear_cache(name: str) -> None:
    """Removes an image's cached files, so that the next build uses Debian's newest packages."""
    with cache.lock(f"image-{name}"):
        _remove(cache.root().glob(f"image-{name}-*"))


def _packages_digest(name: str) -> str:
    folder = f"images/{name}"
    return digest(ROOT, [f"{folder}/Dockerfile", f"{folder}/Dockerfile.dockerignore", *RECIPES[name].packages])


def _build(name: str, file: Path, tag: str, buildah: Buildah) -> None:
    full = f"{REGISTRY}/headrace/{name}:{tag}"
    say(f"images: building {full}")
    _remove(file.parent.glob(f".image-{name}-*"))  # leftovers of a killed build
    buildah.clean()
    buildah.pull(base_image(), BASE)
    with tempfile.TemporaryDirectory(prefix=f".image-{name}-", dir=file.parent) as temporary:
        work = Path(temporary)
        secrets = package_index.secrets(work)
        buildah.build(
            ROOT / "images" / name / "Dockerfile", ROOT, local_name(name), arguments={"BASE": BASE}, secrets=secrets
        )
        buildah.push(local_name(name), work / "image")
        draft = work / "image.tar"
        oci.archive_folder(work / "image", draft, full)
        sbom.write(draft, _bill(file), full)
        draft.rename(file)
    _remove({*file.parent.glob(f"image-{name}-*")} - {file, _bill(file), buildah.store})
    say(f"images: {full} is {file.stat().st_size / 1e6:.0f} MB")


def _built_image(file: Path) -> Image:
    (entry,) = oci.index_entries(file)
    return Image(file, _bill(file), entry["annotations"][oci.IMAGE_NAME], entry["digest"])


def _bill(archive: Path) -> Path:
    return archive.with_suffix(".cdx.json")


def digest(root: Path, paths: Iterable[str], seed: str = "") -> str:
    """Returns a digest of files and folders below a root, ignoring Python's byte code."""
    total = hashlib.sha256(seed.encode())
    for path in sorted(paths):
        files = sorted((root / path).rglob("*")) if (root / path).is_dir() else [root / path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                total.update(f"{file.relative_to(root)}\0{cache.sha256(file)}\0".encode())
    return total.hexdigest()[:12]


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)
