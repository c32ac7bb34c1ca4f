"""Real servers that tests of several folders share."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx import create_ssl_context

from serving.config import Catalog, Store
from tests.contract.running import Gateway, Loop, gateway
from tests.root_logger import root_logger
from tests.servers.identity_provider import IdentityProvider
from tests.servers.object_stores import S3, Azure, Gcs, ObjectStore
from tests.servers.postgres import Postgres
from tests.servers.process import held_port

__all__ = ["root_logger"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that take long come first: begun last, one of them would be waited for by all but one process."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server. Whoever stops it starts it again."""
    server = Postgres()
    os.environ["PGPASSWORD"] = server.password  # for processes that are given a URL alone
    yield server
    del os.environ["PGPASSWORD"]
    server.close()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway without models. Modules whose tests ask some have an `up` of their own."""
    with Loop() as loop, gateway(loop, tmp_path_factory.mktemp("gateway"), Catalog()) as made:
        yield made


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Where nobody answers."""
    with held_port() as port:
        yield port


@pytest.fixture(scope="session")
def identity_provider() -> Iterator[IdentityProvider]:
    """An identity provider, whose `home` is for a gateway to listen at. Whoever stops it starts it again."""
    with held_port() as home:
        server = IdentityProvider(f"http://127.0.0.1:{home}")
        yield server
        server.close()


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[S3]:
    server = S3()
    yield server
    server.close()


@pytest.fixture(scope="session")
def _gs_server() -> Iterator[Gcs]:
    server = Gcs()
    yield server
    server.close()


@pytest.fixture(scope="session")
def _az_server() -> Iterator[Azure]:
    server = Azure()
    yield server
    server.close()


@pytest.fixture(params=["s3", "gs", "az"])
def object_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """An object store of each kind, with its credentials in the environment. Whoever stops it starts it again."""
    server: ObjectStore = request.getfixturevalue(f"_{request.param}_server")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def s3(_s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """An S3 service, with its credentials in the environment. Whoever stops it starts it again."""
    for name, value in _s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return _s3_server


@pytest.fixture
def s3_by_file(_s3_server: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3:
    """An S3 service, with its credentials in a shared credentials file alone, as pods have them."""
    for name, value in _s3_server.environment.items():
        monkeypatch.delenv(name, raising=False)
        if "KEY" not in name:
            monkeypatch.setenv(name, value)
    lines = [f"{n.lower()} = {v}" for n, v in _s3_server.environment.items() if "KEY" in n]
    file = tmp_path / "credentials"
    file.write_text("\n".join(["[default]", *lines, ""]))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    return _s3_server


@pytest.fixture
def s3_store(s3: S3) -> Store:
    return s3.store()


@pytest.fixture(scope="session", autouse=True)
def _contexts_are_shared() -> Iterator[None]:
    """Every client of httpx reads all authorities for a context of its own, which takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", functools.cache(create_ssl_context))
        yield
