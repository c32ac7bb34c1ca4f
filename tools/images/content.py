"""The content of an image archive: every file as a container sees it."""

import posixpath
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tools.images.layer import ArchiveError
from tools.images.oci import image_manifest

_REMOVED = ".wh."
_EMPTIED = ".wh..wh..opq"


@dataclass(frozen=True)
class ImageFile:
    """An entry of a layer, and the layer's number from the bottom."""

    info: tarfile.TarInfo
    layer: int


class ImageContent:
    """The files of an image, by path without a leading slash; upper layers override lower ones."""

    def __init__(self, layers: list[tarfile.TarFile]) -> None:
        self._layers = layers
        self.files: dict[str, ImageFile] = {}
        for number, layer in enumerate(layers):
            self._add(number, layer)

    def read_file(self, path: str) -> bytes:
        """Returns a file's content, through symbolic links.

        Raises:
            KeyError: there is no such file.
        """
        for _ in range(16):
            path = self._resolve_links(path)
            file = self.files[path]
            if not file.info.issym():
                content = self._layers[file.layer].extractfile(file.info)
                if content is None:
                    break
                return content.read()
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), file.info.linkname)).lstrip("/")
        raise KeyError(path)

    def _resolve_links(self, path: str) -> str:
        """Resolves links among a path's folders, such as /bin."""
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = self.files.get("/".join(parts[:depth]))
            if folder and folder.info.issym():
                target = posixpath.join(posixpath.dirname(folder.info.name), folder.info.linkname, *parts[depth:])
                return self._resolve_links(posixpath.normpath(target).lstrip("/"))
        return path

    def _add(self, number: int, layer: tarfile.TarFile) -> None:
        entries = layer.getmembers()
        for entry in entries:
            folder, name = posixpath.split(_path(entry))
            if name == _EMPTIED:
                self._remove(folder, itself=False)
            elif name.startswith(_REMOVED):
                self._remove(posixpath.join(folder, name.removeprefix(_REMOVED)), itself=True)
        for entry in entries:
            path = _path(entry)
            if path and not posixpath.basename(path).startswith(_REMOVED):
                below = self.files.get(path)
                if below and below.info.isdir() and not entry.isdir():
                    self._remove(path, itself=True)
                self.files[path] = ImageFile(entry, number)

    def _remove(self, path: str, *, itself: bool) -> None:
        for name in [name for name in self.files if name.startswith(f"{path}/") or (itself and name == path)]:
            del self.files[name]


@contextmanager
def open_image(archive: Path) -> Iterator[ImageContent]:
    """Opens an archive of one image whose layers are not compressed.

    Raises:
        ArchiveError: it is not such an archive.
    """
    layers = image_manifest(archive)["layers"]
    with ExitStack() as stack:
        try:
            blobs = stack.enter_context(tarfile.open(archive, "r:"))
            files = [blobs.extractfile(f"blobs/{layer['digest'].replace(':', '/')}") for layer in layers]
            yield ImageContent([stack.enter_context(tarfile.open(fileobj=file, mode="r:")) for file in files])
        except tarfile.TarError as error:
            raise ArchiveError(f"{archive}: a layer is compressed or damaged: {error}") from error


@contextmanager
def open_root(stream: IO[bytes], needed: Callable[[str], bool]) -> Iterator[ImageContent]:
    """Reads a root file system, as `docker export` writes it, to its end; keeps links and the files that are needed.

    Raises:
        ArchiveError: the stream is not a tar file, or ends early.
    """
    with tempfile.TemporaryFile() as file:
        try:
            with tarfile.open(fileobj=stream, mode="r|") as root, tarfile.open(fileobj=file, mode="w") as kept:
                for entry in root:
                    if entry.issym() or needed(_path(entry)):
                        kept.addfile(entry, root.extractfile(entry) if entry.isreg() else None)
        except tarfile.TarError as error:
            raise ArchiveError(f"the root file system is not a whole tar file: {error}") from error
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as layer:
            yield ImageContent([layer])


def _path(entry: tarfile.TarInfo) -> str:
    return posixpath.normpath(f"/{entry.name}").lstrip("/")
