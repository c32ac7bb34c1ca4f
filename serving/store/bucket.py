"""What is particular to object stores, in this one place: a place in an S3 bucket, and what its errors mean.

Credentials come from the file that `AWS_SHARED_CREDENTIALS_FILE` names, from `AWS_ACCESS_KEY_ID` and so on, or from the
pod's workload identity. Both clients look for them in these places.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, BinaryIO, cast

from serving.config import Store
from serving.store.errors import StoreUnavailable
from serving.store.places import Writing

PART = 8 << 20  # bytes given to the client at once
DEFAULT_REGION = "us-east-1"  # S3 services that are not Amazon's have no regions, and signatures need one

_KEYS = "AWS_SHARED_CREDENTIALS_FILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"

_CAUSES = (
    (re.compile(r"NO_?SUCH_?BUCKET", re.I), "the bucket does not exist: create it, or mend store.data"),
    (
        re.compile(r"SIGNATURE_?DOES_?NOT_?MATCH|INVALID_?ACCESS_?KEY|EXPIRED_?TOKEN|INVALID_?TOKEN", re.I),
        f"the credentials were refused: check {_KEYS}",
    ),
    (re.compile(r"ACCESS_?DENIED|HTTP status 403|status: 403|Forbidden", re.I), "access was denied: check its policy"),
    (
        re.compile(r"no credentials|CredentialsNotLoaded|failed to load credentials|NoCredentials", re.I),
        f"there are no credentials: set {_KEYS}",
    ),
    (
        re.compile(r"NETWORK_CONNECTION|curlCode|ConnectError|kind: Connect|timed? ?out|dns error|error sending", re.I),
        "it cannot be reached: check store.s3_endpoint, and that the service runs",
    ),
    (re.compile(r"SLOW_?DOWN|TOO_?MANY|status: 503|SERVICE_?UNAVAILABLE", re.I), "it is overloaded: try again later"),
    (re.compile(r"PERMANENT_?REDIRECT|301|AuthorizationHeaderMalformed", re.I), "check store.s3_region"),
)


def explain(error: BaseException) -> str | None:
    """Returns what an error of an object store's client means, or None when it does not come from one."""
    text = str(error)
    if "AWS Error" not in text and 'store: "S3"' not in text and "Generic S3 error" not in text:
        return None
    return next((cause for words, cause in _CAUSES if words.search(text)), " ".join(text.split())[:300])


def options(store: Store) -> dict[str, str]:
    """How LanceDB reaches the bucket."""
    endpoint = store.s3_endpoint
    named = {
        "aws_region": store.s3_region or (DEFAULT_REGION if endpoint else None),
        "aws_endpoint": endpoint.rstrip("/") if endpoint else None,
        "allow_http": "true" if endpoint and endpoint.startswith("http://") else None,
        "virtual_hosted_style_request": "false" if store.s3_path_style else "true",
    }
    return {name: value for name, value in named.items() if value is not None}


class Bucket:
    """A place below s3://bucket/prefix of a `Store`."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store = store
        self._root = f"{store.data.removeprefix('s3://')}/{folder}"

    def __repr__(self) -> str:
        return f"s3://{self._root}"

    @cached_property
    def _client(self) -> Any:
        from pyarrow import fs  # slow to import, and not needed where data lies in a folder

        store = self._store
        scheme, _, host = (store.s3_endpoint or "").rstrip("/").rpartition("://")
        return fs.S3FileSystem(
            region=store.s3_region or (DEFAULT_REGION if host else None),
            endpoint_override=host or None,
            scheme=scheme or "https",
            force_virtual_addressing=not store.s3_path_style,
            allow_delayed_open=True,  # one request for a small content, instead of three
            background_writes=False,
            connect_timeout=5,
            request_timeout=30,
        )

    def create(self, name: str) -> Writing:
        return _Upload(self, f"{self._root}/{name}")

    def open(self, name: str) -> BinaryIO:
        with self._explained():
            try:
                return cast(BinaryIO, self._client.open_input_file(f"{self._root}/{name}"))
            except FileNotFoundError:
                self._require_bucket()
                raise

    def delete(self, name: str) -> None:
        with self._explained():
            try:
                self._client.delete_file(f"{self._root}/{name}")
            except FileNotFoundError:
                self._require_bucket()

    def names(self, below: str = "") -> Iterator[tuple[str, float]]:
        from pyarrow import fs

        start = f"{self._root}/{below}".rstrip("/")
        with self._explained():
            selector = fs.FileSelector(start, recursive=True, allow_not_found=True)
            found = self._client.get_file_info(selector)
            if not found:
                self._require_bucket()
        for info in found:
            if info.type == fs.FileType.File:
                yield info.path.removeprefix(f"{self._root}/"), info.mtime.timestamp() if info.mtime else 0.0

    def _require_bucket(self) -> None:
        """Tells a bucket that is not there from a content that is not: both are answered alike."""
        from pyarrow import fs

        bucket = self._root.partition("/")[0]
        if self._client.get_file_info(bucket).type == fs.FileType.NotFound:
            raise StoreUnavailable(f"{self!r} cannot be used: the bucket does not exist: create it, or mend store.data")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as e:
            raise StoreUnavailable(f"{self!r} cannot be used: {explain(e) or e}") from e


class _Upload:
    """Kept on this machine's disk until it is whole: a broken-off upload leaves nothing in the bucket."""

    def __init__(self, bucket: Bucket, path: str) -> None:
        self._bucket = bucket
        self._path = path
        with bucket._explained():
            self._spool = tempfile.TemporaryFile()  # noqa: SIM115

    def append(self, chunk: bytes) -> None:
        with self._bucket._explained():
            self._spool.write(chunk)

    def publish(self) -> None:
        client = self._bucket._client
        with self._bucket._explained():
            self._spool.seek(0)
            target = client.open_output_stream(self._path)
            try:
                shutil.copyfileobj(self._spool, target, PART)
                target.close()
            except BaseException:
                # Closing is the only way to end it, and may publish a part: away with it.
                with suppress(OSError):
                    target.close()
                with suppress(OSError):
                    client.delete_file(self._path)
                raise
            self._spool.close()

    def discard(self) -> None:
        with suppress(OSError):
            self._spool.close()
