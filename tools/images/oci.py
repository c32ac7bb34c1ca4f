"""OCI image archives (image-spec 1.1), the `oci-archive:` of skopeo and buildah, which `ctr images import` reads.

The same content gives the same bytes: entries are sorted, times are fixed, and nothing of the host is included.
"""

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tools.images.layer import ArchiveError, Layer, add_entry, pack

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"
CREATED = "1980-01-01T00:00:00Z"

_BLOBS = PurePosixPath("blobs/sha256")
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


@dataclass(frozen=True)
class ImageConfig:
    """What a container of the image runs: fields of the OCI image configuration."""

    entrypoint: Sequence[str] = ()
    cmd: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    architecture: str = "amd64"

    def document(self, diff_ids: Sequence[str]) -> dict[str, Any]:
        """Returns the configuration document of an image with these layers."""
        config = {
            "User": self.user,
            "Env": [f"{name}={value}" for name, value in self.env.items()],
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.cmd),
            "WorkingDir": self.working_dir,
            "Labels": dict(self.labels),
        }
        return {
            "created": CREATED,
            "architecture": self.architecture,
            "os": "linux",
            "config": {key: value for key, value in config.items() if value},
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
            "history": [{"created": CREATED, "created_by": "headrace"} for _ in diff_ids],
        }


def write_archive(
    out: Path,
    name: str,
    layers: Sequence[Layer | Path],
    config: ImageConfig | None = None,
    annotations: Mapping[str, str] | None = None,
) -> str:
    """Writes one image as an OCI archive and returns its manifest's digest (`sha256:...`).

    `name` is the full reference with a tag: importing the archive gives the image this name. A layer is a `Layer`,
    a folder (its content at the image's root, owned by root) or a .tar file, which is used unchanged.

    Raises:
        ArchiveError: the name has no tag, or a layer is none of these.
    """
    config = config or ImageConfig()
    work = out.with_name(f".{out.name}.{os.getpid()}")
    work.mkdir(parents=True)
    try:
        store = _Store(work)
        blobs = [store.layer(layer) for layer in layers]
        document = store.json(CONFIG, config.document([blob["digest"] for blob in blobs]))
        manifest = store.json(
            MANIFEST,
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": document,
                "layers": blobs,
                **({"annotations": dict(annotations)} if annotations else {}),
            },
        )
        _write(out, [{**manifest, "annotations": _name_annotations(name)}], store.blobs)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return str(manifest["digest"])


def write_bundle(out: Path, archives: Iterable[Path]) -> dict[str, str]:
    """Joins archives into one with every image, and each blob once; returns digests by image name.

    Raises:
        ArchiveError: a file is not an OCI archive, or two contain different images of one name.
    """
    entries: dict[str, dict[str, Any]] = {}
    blobs: dict[str, Path | tuple[Path, str]] = {}
    for archive in archives:
        for entry in index_entries(archive):
            name = _image_name(entry)
            if entries.setdefault(name, entry)["digest"] != entry["digest"]:
                raise ArchiveError(f"two different images are named {name}")
        blobs = {**_blobs(archive), **blobs}
    _write(out, list(entries.values()), blobs)
    return {name: str(entry["digest"]) for name, entry in sorted(entries.items())}


def rename(archive: Path, out: Path, name: str) -> str:
    """Copies an archive of one image under a new name; returns the digest, which does not change.

    Raises:
        ArchiveError: it does not contain exactly one image.
    """
    entries = index_entries(archive)
    if len(entries) != 1:
        raise ArchiveError(f"{archive} holds {len(entries)} images")
    entry = {key: entries[0][key] for key in ("mediaType", "digest", "size")}
    _write(out, [{**entry, "annotations": _name_annotations(name)}], _blobs(archive))
    return str(entry["digest"])


def archive_folder(folder: Path, out: Path, name: str) -> str:
    """Writes an image in a folder (skopeo's `dir:`) as an archive; returns the digest."""
    content = (folder / "manifest.json").read_bytes()
    manifest = json.loads(content)
    digest = hashlib.sha256(content).hexdigest()
    blobs = [blob["digest"].removeprefix("sha256:") for blob in (manifest["config"], *manifest["layers"])]
    entry = {
        "mediaType": MANIFEST,
        "digest": f"sha256:{digest}",
        "size": len(content),
        "annotations": _name_annotations(name),
    }
    _write(out, [entry], {digest: folder / "manifest.json", **{blob: folder / blob for blob in blobs}})
    return f"sha256:{digest}"


def relabel(archive: Path, out: Path, name: str, labels: Mapping[str, str]) -> str:
    """Copies an image under a new name with additional labels; returns the new digest.

    Raises:
        ArchiveError: the archive does not contain exactly one image.
    """
    manifest = image_manifest(archive)
    config = json.loads(read_blob(archive, manifest["config"]["digest"]))
    config["config"]["Labels"] = {**config["config"].get("Labels", {}), **labels}
    work = out.with_name(f".{out.name}.{os.getpid()}")
    work.mkdir(parents=True)
    try:
        store = _Store(work)
        new = store.json(MANIFEST, {**manifest, "config": store.json(CONFIG, config)})
        layers = {layer["digest"].removeprefix("sha256:") for layer in manifest["layers"]}
        kept = {digest: where for digest, where in _blobs(archive).items() if digest in layers}
        _write(out, [{**new, "annotations": _name_annotations(name)}], {**kept, **store.blobs})
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return str(new["digest"])


def without_layers(archive: Path, out: Path) -> None:
    """Copies an image without its layers, for a store that has them of another image.

    Raises:
        ArchiveError: the archive does not contain exactly one image.
    """
    layers = {layer["digest"].removeprefix("sha256:") for layer in image_manifest(archive)["layers"]}
    kept = {digest: where for digest, where in _blobs(archive).items() if digest not in layers}
    _write(out, index_entries(archive), kept)


def image_manifest(archive: Path) -> dict[str, Any]:
    """Returns the manifest of the only image in an archive.

    Raises:
        ArchiveError: the file is not an OCI archive of one image.
    """
    entries = index_entries(archive)
    if len(entries) != 1:
        raise ArchiveError(f"{archive} holds {len(entries)} images")
    return dict(json.loads(read_blob(archive, entries[0]["digest"])))


def index_entries(archive: Path) -> list[dict[str, Any]]:
    """Returns the entries of the index, one per image, with `digest`, `size` and `annotations`.

    Raises:
        ArchiveError: the file is not an OCI archive.
    """
    with _open_archive(archive) as tar:
        try:
            return list(json.loads(_member(tar, "index.json"))["manifests"])
        except (KeyError, ValueError, TypeError) as error:
            raise ArchiveError(f"{archive} is not an OCI archive: {type(error).__name__}: {error}") from error


def read_blob(archive: Path, digest: str) -> bytes:
    """Returns a small blob (a manifest or a configuration) after verifying its digest.

    Raises:
        ArchiveError: it is missing or damaged.
    """
    with _open_archive(archive) as tar:
        try:
            content = _member(tar, str(_BLOBS / digest.removeprefix("sha256:")))
        except KeyError as error:
            raise ArchiveError(f"{archive} has no blob {digest}") from error
    if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
        raise ArchiveError(f"{archive}: blob {digest} is damaged")
    return content


@dataclass(frozen=True)
class _Store:
    """Blobs of an unfinished image, each in a file named by its digest."""

    folder: Path

    @property
    def blobs(self) -> dict[str, Path | tuple[Path, str]]:
        return {file.name: file for file in self.folder.iterdir()}

    def json(self, media_type: str, document: Mapping[str, Any]) -> dict[str, Any]:
        content = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def layer(self, layer: Layer | Path) -> dict[str, Any]:
        draft = self.folder / ".layer"
        if isinstance(layer, Path) and layer.is_file():
            if not tarfile.is_tarfile(layer):
                raise ArchiveError(f"{layer} is neither a folder nor a tar file")
            shutil.copyfile(layer, draft)
        else:
            pack(layer if isinstance(layer, Layer) else Layer(layer), draft)
        with draft.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        draft.rename(self.folder / digest)
        return {"mediaType": LAYER, "digest": f"sha256:{digest}", "size": (self.folder / digest).stat().st_size}


def _name_annotations(name: str) -> dict[str, str]:
    """Returns the annotations from which containerd and skopeo take an image's name."""
    if ":" not in name.rsplit("/", 1)[-1] or "@" in name:
        raise ArchiveError(f"image name {name!r} must end in a tag, as in registry/repository:1.0")
    return {IMAGE_NAME: name, REF_NAME: name}


def _image_name(entry: Mapping[str, Any]) -> str:
    annotations = entry.get("annotations") or {}
    name = annotations.get(IMAGE_NAME) or annotations.get(REF_NAME)
    if not name:
        raise ArchiveError(f"image {entry.get('digest')} has no name")
    return str(name)


def _write(out: Path, entries: Sequence[Mapping[str, Any]], blobs: Mapping[str, Path | tuple[Path, str]]) -> None:
    """Writes an archive, all or nothing."""
    out.parent.mkdir(parents=True, exist_ok=True)
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": sorted(entries, key=_image_name),
    }
    draft = out.with_name(f".{out.name}.{os.getpid()}.draft")
    try:
        with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as tar:
            _add_bytes(tar, "oci-layout", _LAYOUT)
            _add_bytes(tar, "index.json", json.dumps(index, separators=(",", ":"), sort_keys=True).encode())
            for digest, where in sorted(blobs.items()):
                with _open_blob(where) as (content, size):
                    entry = tarfile.TarInfo(str(_BLOBS / digest))
                    entry.size = size
                    add_entry(tar, entry, content)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)


def _blobs(archive: Path) -> dict[str, Path | tuple[Path, str]]:
    with _open_archive(archive) as tar:
        names = [PurePosixPath(member.name) for member in tar.getmembers() if member.isfile()]
    return {name.name: (archive, str(name)) for name in names if name.parent == _BLOBS}


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    add_entry(tar, entry, io.BytesIO(content))


@contextmanager
def _open_blob(where: Path | tuple[Path, str]) -> Iterator[tuple[IO[bytes], int]]:
    if isinstance(where, Path):
        with where.open("rb") as file:
            yield file, where.stat().st_size
        return
    archive, name = where
    with _open_archive(archive) as tar:
        if (content := tar.extractfile(name)) is None:
            raise ArchiveError(f"{archive}: {name} is not a file")
        yield content, tar.getmember(name).size


@contextmanager
def _open_archive(archive: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(archive, "r:") as tar:
            yield tar
    except (tarfile.TarError, OSError) as error:
        raise ArchiveError(f"{archive} is not an OCI archive: {error}") from error


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    if (content := tar.extractfile(name)) is None:
        raise KeyError(name)
    return content.read()
