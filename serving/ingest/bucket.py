"""The documents in a bucket of an object store."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from serving.engines.weights.bucket import Advice, BucketFolder
from serving.engines.weights.remote import Changed, RemoteFile, WeightsError
from serving.ingest.api import IngestError
from serving.ingest.collection import IngestRefused
from serving.ingest.source import Inventory, is_document, report_skipped

MAX_BYTES = 512_000_000
"""Maximum size in bytes of an object that is downloaded; larger ones are reported."""

_VARIABLES = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SHARED_CREDENTIALS_FILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_KEY",
}


class BucketSource:
    """The objects below a prefix; their versions are ETags with sizes."""

    def __init__(
        self, uri: str, endpoint: str | None, region: str | None, *, every_kind: bool, say: Callable[[str], None]
    ) -> None:
        """Lists the objects, completely or not at all. Raises `IngestError` when this fails, or nothing is found."""
        scheme, _, rest = uri.partition("://")
        bucket, _, prefix = rest.partition("/")
        if not bucket or (scheme == "az" and not prefix.strip("/")):
            raise IngestError(f"--documents: '{uri}' has no {'container' if bucket else 'bucket'}")
        names = _VARIABLES[scheme]
        advice = Advice(f"check {names}", "allow this identity to list and read", f"set {names}", "set --s3-region")
        self._files: dict[str, RemoteFile] = {}
        left_out = []
        try:
            self._folder = BucketFolder(uri, None, endpoint, region, advice)
            for file in self._folder.list().files:
                if any(part.startswith(".") for part in file.name.split("/")):
                    continue
                if file.size and (every_kind or is_document(file.name)):
                    self._files[file.name] = file
                else:
                    left_out.append(file.name)
        except WeightsError as e:
            raise IngestError(str(e)) from e
        report_skipped(left_out, say)
        if not self._files:
            raise IngestError(f"{uri} contains no documents")

    def listing(self, known: Mapping[str, str]) -> Inventory:
        return Inventory({path: f"{file.version}:{file.size}" for path, file in self._files.items()})

    def read(self, path: str, version: str) -> bytes:
        file = self._files[path]
        if file.size > MAX_BYTES:
            raise IngestRefused(f"has {file.size} bytes, more than {MAX_BYTES}")
        try:
            return b"".join(self._folder.read(file, 0))
        except Changed:
            raise IngestRefused("changed while it was read; try again") from None
        except WeightsError as e:
            raise IngestError(str(e)) from e
