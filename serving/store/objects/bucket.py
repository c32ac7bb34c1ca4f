"""Access to buckets of object stores, and the meaning of their errors.

`s3://bucket/prefix` is Amazon S3 or a compatible service, `gs://bucket/prefix` Google Cloud Storage, and
`az://account/container/prefix` Azure Blob Storage. Credentials come from the pod's workload identity, or from the
sources in `_CREDENTIALS`, where LanceDB looks for them too.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import BinaryIO, Protocol

from serving.config import Store
from serving.store.errors import StoreUnavailable
from serving.store.objects.object_clients import Arrow, Client, ObjectStore
from serving.store.objects.places import WritableContent

DEFAULT_REGION = "us-east-1"  # S3 services other than Amazon's have no regions, but signatures need one

_FROM_A_STORE = re.compile(
    r'AWS Error|store: "(S3|GCS|MicrosoftAzure)|Generic (S3|GCS|MicrosoftAzure)|operation lacked (the necessary|valid)'
)

_CREDENTIALS = (
    (re.compile(r"GCS|googleapis\.com"), "GOOGLE_APPLICATION_CREDENTIALS, or the pod's workload identity"),
    (
        re.compile(r"MicrosoftAzure|\.blob\.core\."),
        "the pod's workload identity, or AZURE_STORAGE_ACCOUNT_KEY",
    ),
    (re.compile(r"AWS|S3"), "AWS_SHARED_CREDENTIALS_FILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    (re.compile(""), "those of the bucket"),
)

_CAUSES = (
    (
        re.compile(r"NO_?SUCH_?BUCKET|ContainerNotFound", re.I),
        "the bucket does not exist: create it, or correct store.data",
    ),
    (
        re.compile(r"TokenRequest|token request|workload identity credentials"),
        "credentials could not be obtained: check {credentials}",
    ),
    (
        re.compile(
            r"SIGNATURE_?DOES_?NOT_?MATCH|INVALID_?ACCESS_?KEY|EXPIRED_?TOKEN|INVALID_?TOKEN"
            r"|AuthenticationFailed|Unauthorized|status: 401",
            re.I,
        ),
        "the credentials were refused: check {credentials}",
    ),
    (re.compile(r"ACCESS_?DENIED|HTTP status 403|status: 403|Forbidden", re.I), "access was denied: check its policy"),
    (
        re.compile(r"no credentials|CredentialsNotLoaded|failed to load credentials|NoCredentials", re.I),
        "there are no credentials: set {credentials}",
    ),
    (
        re.compile(r"NETWORK_CONNECTION|curlCode|ConnectError|kind: Connect|timed? ?out|dns error|error sending", re.I),
        "it cannot be reached: check store.endpoint, and that the service runs",
    ),
    (re.compile(r"SLOW_?DOWN|TOO_?MANY|status: 503|SERVICE_?UNAVAILABLE", re.I), "it is overloaded: try again later"),
    (re.compile(r"PERMANENT_?REDIRECT|status:? 301|AuthorizationHeaderMalformed", re.I), "check store.s3_region"),
)


class Location(Protocol):
    """Where a bucket is: a `Store`, or anything else that names one."""

    @property
    def data(self) -> str: ...

    @property
    def endpoint(self) -> str | None: ...

    @property
    def s3_region(self) -> str | None: ...

    @property
    def s3_path_style(self) -> bool: ...


def explain(error: BaseException) -> str | None:
    """Returns the meaning of an error of an object store's client; None for any other error."""
    text = str(error)
    if not _FROM_A_STORE.search(text):
        return None
    credentials = next(names for words, names in _CREDENTIALS if words.search(text))
    cause = next((cause for words, cause in _CAUSES if words.search(text)), None)
    return cause.format(credentials=credentials) if cause else " ".join(text.split())[:300]


def uri(store: Location) -> str:
    """Returns the location in LanceDB's notation: an Azure account is one of the options."""
    scheme, _, rest = store.data.partition("://")
    return f"az://{rest.partition('/')[2]}" if scheme == "az" else store.data


def options(store: Location) -> dict[str, str]:
    """How LanceDB reaches the bucket."""
    endpoint = store.endpoint.rstrip("/") if store.endpoint else None
    named = {
        "allow_http": "true" if endpoint and endpoint.startswith("http://") else None,
        **_OPTIONS[store.data.partition("://")[0]](store, endpoint),
    }
    return {name: value for name, value in named.items() if value is not None}


Options = dict[str, str | None]


def _s3(store: Location, endpoint: str | None) -> Options:
    return {
        "aws_region": store.s3_region or (DEFAULT_REGION if endpoint else None),
        "aws_endpoint": endpoint,
        "virtual_hosted_style_request": "false" if store.s3_path_style else "true",
    }


def _gs(store: Location, endpoint: str | None) -> Options:
    return {"google_base_url": endpoint}


def _az(store: Location, endpoint: str | None) -> Options:
    account = store.data.removeprefix("az://").partition("/")[0]
    if endpoint and f"//{account}." not in endpoint:  # of an emulator, which serves all accounts below one host
        endpoint = f"{endpoint}/{account}"
    return {"azure_storage_account_name": account, "azure_storage_endpoint": endpoint}


_OPTIONS: dict[str, Callable[[Location, str | None], Options]] = {"s3": _s3, "gs": _gs, "az": _az}


def _client(store: Store, folder: str) -> Client:
    if not store.data.startswith("s3://"):
        return ObjectStore(f"{uri(store)}/{folder}", options(store))
    scheme, _, host = (store.endpoint or "").rstrip("/").rpartition("://")
    return Arrow(
        f"{store.data.removeprefix('s3://')}/{folder}",
        {
            "region": store.s3_region or (DEFAULT_REGION if host else None),
            "endpoint_override": host or None,
            "scheme": scheme or "https",
            "force_virtual_addressing": not store.s3_path_style,
        },
    )


class Bucket:
    """A storage place below the bucket and prefix of a `Store`."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store = store
        self._folder = folder

    def __repr__(self) -> str:
        return f"{self._store.data}/{self._folder}"

    @cached_property
    def _client(self) -> Client:
        return _client(self._store, self._folder)

    def create(self, name: str) -> WritableContent:
        return _Upload(self, name)

    def open(self, name: str) -> BinaryIO:
        with self._explained():
            try:
                return self._client.open(name)
            except FileNotFoundError:
                # A missing bucket and a missing content have the same error.
                self._client.check()
                raise

    def delete(self, name: str) -> None:
        with self._explained():
            try:
                self._client.delete(name)
            except FileNotFoundError:
                self._client.check()

    def names(self, below: str = "") -> Iterator[tuple[str, float]]:
        with self._explained():
            found = list(self._client.names(below))
            if not found:
                self._client.check()
        yield from found

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as e:
            raise StoreUnavailable(f"{self!r} cannot be used: {explain(e) or e}") from e


class _Upload:
    """An upload, buffered on the local disk until it is complete: an interrupted one leaves nothing in the bucket."""

    def __init__(self, bucket: Bucket, name: str) -> None:
        self._bucket = bucket
        self._name = name
        with bucket._explained():
            self._spool = tempfile.TemporaryFile()  # noqa: SIM115

    def append(self, chunk: bytes) -> None:
        with self._bucket._explained():
            self._spool.write(chunk)

    def publish(self) -> None:
        client = self._bucket._client
        with self._bucket._explained():
            self._spool.seek(0)
            try:
                client.put(self._name, self._spool)
            except FileNotFoundError:
                client.check()
                raise
            self._spool.close()

    def discard(self) -> None:
        with suppress(OSError):
            self._spool.close()
