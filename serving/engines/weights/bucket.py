"""Weights in a folder of any bucket: `s3://` and `gs://bucket/folder`, `az://account/container/folder`."""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from serving.engines.weights.remote import Changed, Interrupted, Listing, RemoteFile, WeightsError
from serving.store.objects import bucket
from serving.store.objects.object_clients import connect

PART = 16 << 20
"""Bytes of one request."""
CONNECT_S = 10
REQUEST_S = 120


@dataclass(frozen=True)
class Advice:
    """What whoever reads a failure can do about it: how the reader gives credentials, rights and the region."""

    refused: str = "check the model's `token`, or the pods' identity"
    denied: str = "grant the pods' identity read access"
    missing: str = "set its `token`"
    region: str = "set `region`"


_CAUSES = (
    (r"NoSuchBucket|ContainerNotFound|bucket does not exist", "the bucket does not exist"),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|AuthenticationFailed|AuthenticationRequired|ExpiredToken|Unauthorized"
        r"|status: 401",
        "the credentials are refused: {0.refused}",
    ),
    (r"AccessDenied|AuthorizationPermissionMismatch|Forbidden|status: 403", "access is denied: {0.denied}"),
    (r"no credentials|CredentialsNotLoaded|[Tt]oken request|169\.254", "there are no credentials: {0.missing}"),
    (r"PermanentRedirect|AuthorizationHeaderMalformed|status: 301", "the bucket is in another region: {0.region}"),
)


@dataclass(frozen=True)
class _Location:
    """Where the bucket is, as `serving.store.objects.bucket` reads it of a `Store`."""

    data: str
    endpoint: str | None
    s3_region: str | None
    s3_path_style: bool = True


class BucketFolder:
    """A folder of a bucket. `credentials` are a shared credentials file of AWS, the key of a Google service account,
    or the key or a shared access signature of an Azure account; None: what the pod's environment or identity gives.
    """

    pinned = ""

    def __init__(
        self,
        source: str,
        credentials: str | None = None,
        endpoint: str | None = None,
        region: str | None = None,
        advice: Advice = Advice(),
    ) -> None:
        self.source = source.rstrip("/")
        self._advice = advice
        location = _Location(self.source, endpoint, region or os.environ.get("AWS_REGION"), endpoint is not None)
        options = {**bucket.options(location), **_credentials(self.source.partition("://")[0], credentials)}
        with self._explained():
            self._store = connect(
                bucket.uri(location), options, connect_s=CONNECT_S, request_s=REQUEST_S, retry_s=REQUEST_S
            )

    def list(self) -> Listing:
        with self._explained():
            found = [
                RemoteFile(each["path"], int(each["size"]), _tag(each))
                for page in self._store.list()
                for each in page
                if not each["path"].endswith("/")
            ]
        if not found:
            raise WeightsError(f"{self.source} has no files")
        files = sorted(found, key=lambda file: file.name)
        digest = hashlib.sha256(json.dumps([[f.name, f.size, f.version] for f in files]).encode()).hexdigest()
        return Listing(digest, tuple(files))

    def read(self, file: RemoteFile, offset: int) -> Iterator[bytes]:
        import obstore

        while offset < file.size:
            end = min(offset + PART, file.size)
            with self._explained(file.name):
                got = obstore.get(self._store, file.name, options={"range": (offset, end)})
                if (now := _tag(cast(Any, got.meta))) != file.version:
                    raise Changed(
                        f"{file.name} of {self.source} has changed since the files were listed "
                        f"(ETag {now} instead of {file.version}); the next start fetches its new version"
                    )
                part = bytes(got.bytes())
            yield part
            offset += len(part)

    @contextmanager
    def _explained(self, file: str = "") -> Iterator[None]:
        from obstore.exceptions import BaseError, NotFoundError

        try:
            yield
        except (NotFoundError, FileNotFoundError):
            if file:
                raise Changed(f"{file} of {self.source} is no longer there") from None
            raise WeightsError(f"{self.source}: the bucket does not exist") from None
        except (BaseError, OSError) as e:
            text = " ".join(str(e).split())
            if cause := next((cause for words, cause in _CAUSES if re.search(words, text)), None):
                raise WeightsError(f"{self.source}: {cause.format(self._advice)}") from None
            raise Interrupted(f"{self.source} cannot be read: {text[:300]}") from None


def _tag(meta: dict[str, Any]) -> str:
    # Azure quotes it in one of its answers, and not in the other.
    return str(meta.get("e_tag") or meta.get("version") or meta["last_modified"]).strip('"')


def _credentials(scheme: str, given: str | None) -> dict[str, str]:
    """Returns the client's options for credentials. Unlike AWS's own clients, it reads no shared credentials file."""
    file = os.environ.get("AWS_SHARED_CREDENTIALS_FILE")
    if scheme == "s3" and given is None and file and "AWS_ACCESS_KEY_ID" not in os.environ:
        try:
            given = Path(file).read_text(encoding="utf-8")
        except OSError as e:
            raise WeightsError(f"{file} (AWS_SHARED_CREDENTIALS_FILE) cannot be read: {e.strerror}") from None
    if given is None:
        return {}
    if scheme == "gs":
        return {"google_service_account_key": given}
    if scheme == "az":
        return {"azure_storage_sas_key" if "sig=" in given else "azure_storage_account_key": given}
    parsed = configparser.ConfigParser(interpolation=None)
    try:
        parsed.read_string(given)
        profile = parsed[os.environ.get("AWS_PROFILE", "default")]
        names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
        return {name: profile[name] for name in names if name in profile}
    except (configparser.Error, KeyError):
        raise WeightsError("the credentials of the bucket are not a shared credentials file of AWS") from None
