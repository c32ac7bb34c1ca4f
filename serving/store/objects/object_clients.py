"""Clients of object stores for `Bucket`: Arrow's for S3, object_store for Google's and Azure's.

Arrow supports shared credentials files of S3, which object_store does not. With Azure, Arrow ends the process when a
token cannot be obtained, and shows incomplete contents as empty ones; object_store does neither, and as LanceDB's own
client it has the same options and credentials.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

if TYPE_CHECKING:
    from obstore import ReadableFile

PART = 8 << 20  # bytes passed to a client at once
CONNECT_S = 5
REQUEST_S = 30
RETRY_S = 10


class Client(Protocol):
    """Contents below one prefix of a bucket. Every failure is an `OSError`; a missing content `FileNotFoundError`."""

    def open(self, name: str) -> BinaryIO: ...

    def put(self, name: str, content: BinaryIO) -> None:
        """Writes a content completely or not at all."""

    def delete(self, name: str) -> None: ...

    def names(self, below: str) -> Iterator[tuple[str, float]]:
        """Yields each name with its unix time of writing."""

    def check(self) -> None:
        """Raises when the bucket does not exist."""


class Arrow:
    """S3; `options` are those of `pyarrow.fs.S3FileSystem`."""

    def __init__(self, root: str, options: Mapping[str, Any]) -> None:
        from pyarrow import fs  # slow to import, and not needed for folders

        self._root = root
        self._fs = fs
        self._client = fs.S3FileSystem(
            **options,
            allow_delayed_open=True,  # one request for a small content, instead of three
            background_writes=False,
            connect_timeout=CONNECT_S,
            request_timeout=REQUEST_S,
        )

    def open(self, name: str) -> BinaryIO:
        return cast(BinaryIO, self._client.open_input_file(f"{self._root}/{name}"))

    def put(self, name: str, content: BinaryIO) -> None:
        path = f"{self._root}/{name}"
        target = self._client.open_output_stream(path)
        try:
            shutil.copyfileobj(content, target, PART)
            target.close()
        except BaseException:
            # Closing is the only way to end it, and may publish a partial content: delete that.
            with suppress(OSError):
                target.close()
            with suppress(OSError):
                self._client.delete_file(path)
            raise

    def delete(self, name: str) -> None:
        self._client.delete_file(f"{self._root}/{name}")

    def names(self, below: str) -> Iterator[tuple[str, float]]:
        start = f"{self._root}/{below}".rstrip("/")
        for info in self._client.get_file_info(self._fs.FileSelector(start, recursive=True, allow_not_found=True)):
            if info.type == self._fs.FileType.File:
                yield info.path.removeprefix(f"{self._root}/"), info.mtime.timestamp() if info.mtime else 0.0

    def check(self) -> None:
        bucket = self._root.partition("/")[0]
        if self._client.get_file_info(bucket).type == self._fs.FileType.NotFound:
            raise OSError(f"AWS Error NO_SUCH_BUCKET: {bucket}")


def connect(uri: str, options: Mapping[str, str], *, connect_s: float, request_s: float, retry_s: float) -> Any:
    """Returns a store of object_store, whose `options` are those of LanceDB too. Raises obstore's errors."""
    from obstore.store import from_url

    return from_url(
        uri,
        config=cast(Any, {name: value for name, value in options.items() if name != "allow_http"}),
        client_options={
            "allow_http": "allow_http" in options,
            "connect_timeout": timedelta(seconds=connect_s),
            "timeout": timedelta(seconds=request_s),
        },
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=retry_s)},
    )


class ObjectStore:
    """Google's and Azure's object stores; `options` are those of object_store and LanceDB."""

    def __init__(self, uri: str, options: Mapping[str, str]) -> None:
        with _os_errors():
            self._store = connect(uri, options, connect_s=CONNECT_S, request_s=REQUEST_S, retry_s=RETRY_S)

    def open(self, name: str) -> BinaryIO:
        import obstore

        with _os_errors():
            content = obstore.open_reader(self._store, name, buffer_size=PART)
        return cast(BinaryIO, io.BufferedReader(_Content(content), PART))

    def put(self, name: str, content: BinaryIO) -> None:
        with _os_errors():
            self._store.put(name, content, chunk_size=PART, max_concurrency=2)

    def delete(self, name: str) -> None:
        with _os_errors():
            self._store.delete(name)

    def names(self, below: str) -> Iterator[tuple[str, float]]:
        with _os_errors():
            for page in self._store.list(below or None):
                for found in page:
                    yield found["path"], found["last_modified"].timestamp()

    def check(self) -> None:
        next(self.names(""), None)


class _Content(io.RawIOBase):
    """A content being read from the store, with Python's file interface."""

    def __init__(self, content: ReadableFile) -> None:
        self._content = content

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _os_errors():
            part = memoryview(self._content.read(len(buffer)))
        buffer[: len(part)] = part
        return len(part)


@contextmanager
def _os_errors() -> Iterator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except BaseError as e:
        raise OSError(str(e)) from e
