"""Secrets change under a running gateway: nobody is turned away, and the old ones are soon worth nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from serving.config import Catalog, RemoteModel, SecretRef
from serving.core.principal import Principal
from serving.security.keys import Authenticator, new_key
from serving.store.keys import Keys
from serving.store.relational.database import Database
from tests.contract.running import Loop, engine, gateway

ADMIN = Principal(tenant="default", user="admin", key_id="key_0")
OLD, NEW = "o" * 40, "n" * 40


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop()


@pytest.fixture
async def keys(tmp_path: Path) -> AsyncIterator[Keys]:
    async with Database(f"sqlite:///{tmp_path}/headrace.db") as database:
        yield Keys(database)


def status(url: str, key: str) -> int:
    return httpx.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"}, timeout=60).status_code


def test_a_models_key_is_another_from_the_next_request_on(loop: Loop, tmp_path: Path) -> None:
    seen: list[str] = []

    async def chat(request: web.Request) -> web.Response:
        seen.append(request.headers["authorization"])
        message = {"role": "assistant", "content": "ok"}
        return web.json_response({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    mounted = tmp_path / "..data"  # kubelets change a mounted Secret by another target of a link
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "key").write_text(f"secret-{version}\n")
    mounted.symlink_to("1")
    with engine(loop, app) as port:
        ref = SecretRef(ref=f"file:{mounted}/key")
        catalog = Catalog(models=(RemoteModel(name="m", url=f"http://127.0.0.1:{port}/v1", api_key=ref),))
        with gateway(loop, tmp_path, catalog) as g:
            body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            for version in ("1", "2"):
                (tmp_path / "new").symlink_to(version)
                (tmp_path / "new").replace(mounted)
                headers = {"Authorization": f"Bearer {g.key}"}
                answer = httpx.post(f"{g.url}/v1/chat/completions", json=body, headers=headers, timeout=60)
                assert answer.status_code == 200
    assert seen == ["Bearer secret-1", "Bearer secret-2"]


def test_the_key_secret_changes_in_three_steps_without_a_refusal(loop: Loop, tmp_path: Path) -> None:
    """Gateways of two steps run side by side, as they do while one is replaced by the other."""

    def issued(services: object) -> str:
        return str(loop.do(services.authenticator.issue(ADMIN))[1])  # ty: ignore[missing-attribute]

    with gateway(loop, tmp_path, Catalog(), key_secret=OLD) as before:
        used, unused = issued(before.services), issued(before.services)
        with gateway(loop, tmp_path, Catalog(), key_secret=OLD, previous=NEW) as both:
            assert status(both.url, used) == status(both.url, both.key) == status(before.url, used) == 200
    with (
        gateway(loop, tmp_path, Catalog(), key_secret=OLD, previous=NEW) as both,
        gateway(loop, tmp_path, Catalog(), key_secret=NEW, previous=OLD) as after,
    ):
        for key in (used, after.key, issued(after.services), issued(both.services)):
            assert [status(g.url, key) for g in (after, both, after)] == [200] * 3
    with gateway(loop, tmp_path, Catalog(), key_secret=NEW, previous=OLD) as after:
        assert status(after.url, used) == status(after.url, after.key) == 200
    with gateway(loop, tmp_path, Catalog(), key_secret=NEW) as alone:
        assert status(alone.url, used) == status(alone.url, alone.key) == 200
        assert status(alone.url, unused) == 401
    with gateway(loop, tmp_path, Catalog(), key_secret=OLD) as stolen:
        assert status(stolen.url, used) == 401


async def test_replicas_rehash_keys_with_the_new_secret(keys: Keys) -> None:
    row, key = await Authenticator(keys, OLD).issue(ADMIN)
    replicas = [Authenticator(keys, NEW, previous=OLD) for _ in range(8)]
    found = await asyncio.gather(*(replica.verify(key) for replica in replicas))
    assert {each and each.key_id for each in found} == {row.id}
    assert await Authenticator(keys, NEW).verify(key)
    assert await Authenticator(keys, OLD).verify(key) is None


async def test_revoked_keys_stay_revoked_after_a_rotation(keys: Keys) -> None:
    row, revoked = await Authenticator(keys, OLD).issue(ADMIN)
    await keys.revoke(ADMIN, row.id)
    _, expired = await Authenticator(keys, OLD).issue(ADMIN, expires_at=1.0)
    both = Authenticator(keys, NEW, previous=OLD)
    assert [await both.verify(key) for key in (revoked, expired, new_key())] == [None] * 3


async def test_the_bootstrap_key_is_created_once(keys: Keys) -> None:
    key = new_key()
    await Authenticator(keys, OLD).ensure_bootstrap(key)
    await Authenticator(keys, NEW, previous=OLD).ensure_bootstrap(key)
    [row] = (await keys.list(ADMIN)).items
    assert row.revoked_at is None


async def test_an_incomplete_rotation_explains_the_fix(keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    key = new_key()
    for secret in (OLD, NEW):
        await Authenticator(keys, secret).ensure_bootstrap(key)
    assert not caplog.records
    await Authenticator(keys, OLD).ensure_bootstrap(key)  # rolled back
    [record] = caplog.records
    assert (record.levelname, "a new API key" in record.message, key in record.message) == ("ERROR", True, False)
    assert await Authenticator(keys, OLD).verify(key) is None
    new = new_key()
    await Authenticator(keys, OLD).ensure_bootstrap(new)
    assert await Authenticator(keys, OLD).verify(new)
    assert len(caplog.records) == 1


def test_a_weak_older_secret_is_refused(keys: Keys) -> None:
    with pytest.raises(ValueError, match="at least 32"):
        Authenticator(keys, NEW, previous="short")
