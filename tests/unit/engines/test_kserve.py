"""A model behind an InferenceService is a remote endpoint, once its address is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.config import Catalog, KServeModel, RemoteModel, SecretRef
from serving.engines import kserve
from serving.engines.endpoint import EngineBusy, EngineUnavailable
from serving.engines.pool import Engines, Handle
from tests.callers.identity import CALLER, OWNERS

URL = "http://llama-predictor.models.svc.cluster.local"


def model(**settings: object) -> KServeModel:
    return KServeModel.model_validate({"name": "llama", "existing": "models/llama-8b", **settings})


def engines(*models: KServeModel) -> Engines:
    def none(name: str) -> Handle:
        raise AssertionError(f"{name} is no model of Serve")

    made = Engines(none, 1, OWNERS)
    made.configure(Catalog(models=models))
    return made


@pytest.mark.parametrize(
    ("settings", "base"),
    [
        ({}, "/v1"),
        ({"runtime": "huggingface"}, "/openai/v1"),
        ({"runtime": "huggingface", "path": "/api/v3"}, "/api/v3"),
    ],
)
def test_the_api_begins_where_the_runtime_serves_it(settings: dict[str, object], base: str) -> None:
    remote = kserve.remote(model(url=f"{URL}/", **settings))
    assert remote
    assert remote.url == URL + base


def test_a_kserve_model_is_reached_as_a_remote_model() -> None:
    remote = kserve.remote(model(url=URL, first_byte_timeout_s=7, idle_timeout_s=8, max_in_flight=9))
    assert remote == RemoteModel(
        name="llama",
        url=f"{URL}/v1",
        model="llama-8b",
        first_byte_timeout_s=7,
        idle_timeout_s=8,
        max_in_flight=9,
    )


async def test_models_without_an_address_are_unavailable() -> None:
    pool = engines(model())
    with pytest.raises(EngineUnavailable, match="the address of the model llama is not known yet"):
        async with pool.endpoint("llama", CALLER):
            pass
    pool.configure(Catalog(models=(model(url=URL),)))  # what the next document brings
    async with pool.endpoint("llama", CALLER) as endpoint:
        assert (endpoint.url, endpoint.model, endpoint.headers) == (f"{URL}/v1", "llama-8b", {})


async def test_a_key_is_read_at_each_request(tmp_path: Path) -> None:
    key = tmp_path / "key"
    pool = engines(model(url=URL, api_key=SecretRef(ref=f"file:{key}")))
    for value in ("first", "second"):
        key.write_text(value)
        async with pool.endpoint("llama", CALLER) as endpoint:
            assert endpoint.headers == {"Authorization": f"Bearer {value}"}


async def test_concurrent_requests_are_bounded() -> None:
    pool = engines(model(url=URL, max_in_flight=1))
    async with pool.endpoint("llama", CALLER):
        with pytest.raises(EngineBusy):
            async with pool.endpoint("llama", CALLER):
                pass
