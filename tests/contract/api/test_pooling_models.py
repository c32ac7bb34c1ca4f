"""Models that embed and rank, behind the API."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from decimal import Decimal

import httpx
import numpy as np
import pytest

from serving.config import (
    DEFAULT_EMBEDDER,
    JUDGE,
    Assistant,
    CallAccess,
    Catalog,
    Embedding,
    Price,
    RemoteModel,
    SecretRef,
)
from serving.inference.reading import MARKS
from tests.contract.running import Gateway, Loop, engine, gateway, hang_up, request_lines
from tests.servers.pooling import DIMENSIONS, PoolingEngine, vector_of
from tests.wait import eventually

SAYS = [{"role": "user", "content": "a"}]
PRICE = Price(input=Decimal(2), output=Decimal(0), currency="EUR")


@pytest.fixture(scope="module")
def there() -> PoolingEngine:
    return PoolingEngine()


@pytest.fixture(autouse=True)
def fresh(there: PoolingEngine) -> None:
    there.asked.clear()
    there.status, there.hangs, there.dimensions = 200, False, DIMENSIONS


@pytest.fixture(scope="module")
def up(there: PoolingEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    loop, folder = Loop(), tmp_path_factory.mktemp("gateway")
    (folder / "engine-key").write_text("sk-engine")
    with engine(loop, there.application(), cancels=True) as port:

        def model(name: str, task: str, **more: object) -> RemoteModel:
            where = {"url": f"http://127.0.0.1:{port}/v1", "api_key": SecretRef(ref=f"file:{folder}/engine-key")}
            return RemoteModel.model_validate({"name": name, "task": task, "retries": 0, **where, **more})

        vectors = Embedding(dimensions=DIMENSIONS)
        models = (
            model("embeds", "embed", embedding=vectors, price=PRICE, model="theirs"),
            model("nested", "embed", embedding=vectors.model_copy(update={"matryoshka": True})),
            model("ranks", "rerank", price=PRICE),
            model("secret", "rerank", access=CallAccess(tenants=("other",))),
            model("chats", "chat"),
        )
        with gateway(loop, folder, Catalog(models=models, assistants=(Assistant(name="a", model="chats"),))) as made:
            yield made
    loop.stop()


def post(up: Gateway, path: str, **body: object) -> httpx.Response:
    headers = {"authorization": f"Bearer {up.key}"}
    return httpx.post(f"{up.url}/v1/{path}", json=body, headers=headers, trust_env=False, timeout=60)


def unit(text: str, dimensions: int = DIMENSIONS) -> np.ndarray:
    vector = np.asarray(vector_of(text), np.float32)[:dimensions]
    return vector / np.linalg.norm(vector)


def test_texts_are_embedded_in_batches_and_charged(
    up: Gateway, there: PoolingEngine, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [f"heron number {n}" for n in range(150)]
    with caplog.at_level(logging.INFO, "headrace.requests"):
        answer = post(up, "embeddings", model="embeds", input=texts).json()
        [line] = eventually(lambda: [r.fields for r in request_lines(caplog) if r.fields["served"] == "embeds"], "it")
    assert (line["prompt_tokens"], line["cost"]) == (450, {"amount": "0.0009", "currency": "EUR"})
    assert sorted(len(asked["input"]) for asked in there.asked) == [22, 64, 64]
    assert {(asked["model"], asked["authorization"]) for asked in there.asked} == {("theirs", "Bearer sk-engine")}
    assert answer["usage"] == {"prompt_tokens": 450, "total_tokens": 450}
    got = np.asarray([entry["embedding"] for entry in answer["data"]], np.float32)
    np.testing.assert_allclose(got, [unit(text) for text in texts], atol=1e-5)


@pytest.mark.parametrize(
    ("model", "dimensions", "says"),
    [
        ("nested", 16, None),
        ("nested", DIMENSIONS + 1, f"at most {DIMENSIONS} dimensions"),
        ("embeds", 16, f"always {DIMENSIONS} dimensions"),
        ("embeds", DIMENSIONS, None),
    ],
)
def test_dimensions_are_those_that_the_model_can(up: Gateway, model: str, dimensions: int, says: str | None) -> None:
    answer = post(up, "embeddings", model=model, input="heron", dimensions=dimensions)
    if says is not None:
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "dimensions"
        assert says in answer.json()["error"]["message"]
        return
    np.testing.assert_allclose(answer.json()["data"][0]["embedding"], unit("heron", dimensions), atol=1e-5)


def test_documents_are_ranked(up: Gateway, there: PoolingEngine) -> None:
    documents = ["a turbine", {"text": "the grey heron"}, "a heron"]
    body = {"model": "ranks", "query": "grey heron", "documents": documents}
    answer = post(up, "rerank", **body, top_n=2, return_documents=True).json()
    assert [(each["index"], each["relevance_score"]) for each in answer["results"]] == [(1, 2.0), (2, 1.0)]
    assert [each["document"] for each in answer["results"]] == [{"text": "the grey heron"}, {"text": "a heron"}]
    assert (answer["model"], answer["usage"]) == ("ranks", {"prompt_tokens": 7, "total_tokens": 7})
    assert there.asked[0]["documents"] == ["a turbine", "the grey heron", "a heron"]
    assert [each["index"] for each in post(up, "rerank", **body).json()["results"]] == [1, 2, 0]


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "param"),
    [
        ("rerank", {"model": "embeds", "query": "a", "documents": ["b"]}, 404, "model_not_found", "model"),
        ("rerank", {"model": "secret", "query": "a", "documents": ["b"]}, 404, "model_not_found", "model"),
        ("rerank", {"model": "ranks", "query": "", "documents": ["b"]}, 400, "invalid_value", "query"),
        ("rerank", {"model": "ranks", "query": "a", "documents": []}, 400, "invalid_value", "documents"),
        ("embeddings", {"model": "ranks", "input": "a"}, 404, "model_not_found", "model"),
        ("chat/completions", {"model": "embeds", "messages": SAYS}, 404, "model_not_found", "model"),
    ],
)
def test_a_model_is_used_only_for_its_task(
    up: Gateway, path: str, body: dict[str, object], status: int, code: str, param: str
) -> None:
    answer = post(up, path, **body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param), error


def test_an_answer_that_is_not_the_models_is_an_error(up: Gateway, there: PoolingEngine) -> None:
    there.dimensions = 8
    wrong = post(up, "embeddings", model="embeds", input="heron")
    assert wrong.status_code == 502
    assert "have 8 dimensions, not 64" in wrong.json()["error"]["message"]
    there.status = 500
    assert post(up, "rerank", model="ranks", query="a", documents=["b"]).status_code == 502


def test_the_list_of_models_has_the_task_of_each(up: Gateway) -> None:
    headers = {"authorization": f"Bearer {up.key}"}
    listed = httpx.get(f"{up.url}/v1/models", headers=headers, trust_env=False).json()["data"]
    tasks = {entry["id"]: entry["headrace"]["task"] for entry in listed}
    assert tasks == {
        "a": "chat",
        "embeds": "embed",
        "nested": "embed",
        "ranks": "rerank",
        "chats": "chat",
        DEFAULT_EMBEDDER: "embed",
        JUDGE: "embed",
    }


def test_input_tokens_are_charged_at_their_price(up: Gateway) -> None:
    headers = {"authorization": f"Bearer {up.key}"}

    def of_model() -> dict[str, object]:
        params = {"by": "model"}
        rows = httpx.get(f"{up.url}/v1/admin/usage", params=params, headers=headers, trust_env=False).json()["data"]
        return {row["id"]: (row["prompt_tokens"], row["cost"]) for row in rows}

    before = of_model().get("ranks", (0, []))[0]
    post(up, "rerank", model="ranks", query="a", documents=["b"])
    eventually(lambda: of_model().get("ranks", (0,))[0] == before + 7, "the tokens are counted")
    tokens, cost = of_model()["ranks"]
    assert cost == [{"amount": f"{Decimal(tokens) * 2 / 10**6:f}", "currency": "EUR"}]


@pytest.mark.parametrize(
    ("path", "body", "reserved"),
    [
        ("/embeddings", {"model": "embeds", "input": ["heron", "owl"]}, 8 + 2 * MARKS),
        ("/rerank", {"model": "ranks", "query": "heron", "documents": ["a", "b"]}, 2 * 5 + 2 + 4 * MARKS),
    ],
    ids=["embeddings", "rerank"],
)
@pytest.mark.parametrize("fails", ["hang-up", "error"])
def test_unreported_usage_charges_the_whole_reservation(
    up: Gateway, there: PoolingEngine, path: str, body: dict[str, object], reserved: int, fails: str
) -> None:
    limit = {"subject": "tenant", "id": "default", "window": "month", "measure": "tokens", "limit": 10**9}
    with up.client("/v1") as http:

        def counted() -> int:
            up.loop.do(up.services.keeper.tell())
            return sum(day["requests"] for day in http.get("/usage").json()["data"])

        before = counted()
        [quota] = http.put("/admin/quotas", json={"quotas": [limit]}).json()["data"]
        if fails == "hang-up":
            there.hangs = True
            hang_up(http, body, lambda: there.asked, f"/v1{path}")
        else:
            there.status = 500
            assert http.post(path, json=body).status_code == 502
        eventually(lambda: counted() > before, "the request is counted")
        up.loop.do(up.services.keeper.tell())  # what was settled while it was told before
        [now] = http.get("/admin/quotas").json()["data"]
    assert (now["used"] - quota["used"], now["reserved"]) == (reserved, 0)
