"""What is particular to S3: where credentials come from, and the options of its clients."""

from __future__ import annotations

import io

import pytest

from serving.config import Store
from serving.core.principal import Principal
from serving.store.objects import data
from serving.store.objects.blobs import Blobs
from tests.servers.object_stores import S3


async def test_credentials_are_read_from_a_file(s3_by_file: S3, alice: Principal) -> None:
    blobs = Blobs(data.place(s3_by_file.store(), data.FILES))
    await blobs.write(alice, "file-a", io.BytesIO(b"x"), max_bytes=1)
    assert await blobs.read(alice, "file-a") == b"x"


@pytest.mark.parametrize("endpoint", ["http://host:9000", "https://minio.example.com/"])
def test_collections_get_the_options_of_their_bucket(endpoint: str) -> None:
    store = Store(database="sqlite:////x", data="s3://bucket/prefix/", endpoint=endpoint)
    uri, options = data.collections(store)
    assert uri == "s3://bucket/prefix/collections"
    assert options["aws_endpoint"] == endpoint.rstrip("/")
    assert ("allow_http" in options) == endpoint.startswith("http:")
    assert data.collections(Store(database="sqlite:////x", data="/data")) == ("/data/collections", {})
