"""What answers cost: the arithmetic, and where the API and captures say it."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select

from serving.config import Alias, Assistant, Catalog, LlamaCppModel, Price, RemoteModel, SelfConsistency, Target
from serving.core.uninterrupted import uninterrupted
from serving.metering.cost import cost_of
from serving.store.relational.tables import captures
from tests.contract.inference import test_strategies
from tests.contract.inference.responses.scripted import Engine, Retrieval
from tests.contract.running import Loop, engine, gateway

PRICE = Price(input=Decimal("0.15"), output=Decimal("0.6"), cached_input=Decimal("0.075"))
EURO = Price(input=1, output=Decimal("2.5"), currency="EUR")  # type: ignore[arg-type]
counts = st.integers(0, 10**12)
amounts = st.decimals(0, 999_999, places=9)


@given(counts, counts, counts, amounts, amounts, amounts)
def test_a_cost_is_exact_and_parts_add_up(read, cached, written, of_read, of_cached, of_written):
    price = Price(input=of_read, output=of_written, cached_input=of_cached)
    usage = {"prompt_tokens": read, "completion_tokens": written}
    usage["prompt_tokens_details"] = {"cached_tokens": cached}
    cost = cost_of(usage, price)
    cached = min(cached, read)
    units = (read - cached) * int(of_read * 10**9) + cached * int(of_cached * 10**9) + written * int(of_written * 10**9)
    assert int(cost.amount.scaleb(15)) == units  # whole numbers alone
    assert "E" not in cost.document["amount"]
    assert Decimal(cost.document["amount"]) == cost.amount


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"prompt_tokens": 1},
        {"completion_tokens": 1},
        {"prompt_tokens": None, "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": 1.5, "completion_tokens": 1},
        {"prompt_tokens": 10**13, "completion_tokens": 1},
    ],
)
def test_unreported_usage_has_no_cost(usage):
    assert cost_of(usage, PRICE) is None


@pytest.mark.parametrize("details", [None, 5, {}, {"cached_tokens": None}, {"cached_tokens": -1}])
def test_odd_details_are_no_cache(details):
    usage = {"prompt_tokens": 10, "completion_tokens": 0, "prompt_tokens_details": details}
    assert cost_of(usage, PRICE).document == {"amount": "0.0000015", "currency": "USD"}
    assert cost_of(usage, None) is None


def test_cached_tokens_cost_as_input_by_default_and_free_models_nothing():
    usage = {"prompt_tokens": 4, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    assert cost_of(usage, EURO).document == {"amount": "0.000009", "currency": "EUR"}
    assert cost_of(usage, Price(input=0, output=0)).document["amount"] == "0"


@pytest.mark.parametrize("given", ["0.15", 0.15, 1e-7, 3])
def test_prices_are_exact_decimals(given):
    """Also through the documents in which it travels."""
    price = TypeAdapter(Price).validate_python({"input": given, "output": 0})
    assert price.input == Decimal(str(given))
    assert Price.model_validate_json(json.dumps(price.model_dump(mode="json"))) == price


@pytest.mark.parametrize(
    "wrong",
    [
        {"input": -1},
        {"input": "nan"},
        {"input": "Infinity"},
        {"input": True},
        {"input": 1e-10},
        {"input": 1_000_000},
        {"input": None},
        {"output": None},
        {"input": None, "output": None},
        {"input": None, "output": None, "cached_input": 1, "per_hour": 1},
        {"per_hour": -1},
        {"currency": "usd"},
        {"currency": "DOLLARS"},
        {"per": 1000},
    ],
)
def test_invalid_prices_are_rejected(wrong):
    with pytest.raises(ValidationError):
        TypeAdapter(Price).validate_python({"input": 1, "output": 1, **wrong})


def test_only_models_with_replicas_can_have_an_hourly_price():
    hourly = Price(per_hour="2.5")
    assert LlamaCppModel(name="m", source="file:///m.gguf", price=hourly).price == hourly
    assert cost_of({"prompt_tokens": 1, "completion_tokens": 1}, hourly) is None
    with pytest.raises(ValidationError, match="per_hour is for models that Ray Serve runs"):
        RemoteModel(name="m", url="http://127.0.0.1:9/v1", price=hourly)


class Scripted(Engine):
    """Answers chats as the responses' engine does, and completions."""

    def app(self):
        app = super().app()
        app.router.add_post("/v1/completions", self.complete)
        return app

    async def complete(self, request):
        usage = {"prompt_tokens": 7, "completion_tokens": 3}
        if not (await request.json()).get("stream"):
            return web.json_response({"choices": [{"index": 0, "text": "ho", "finish_reason": "stop"}], "usage": usage})
        frames = [{"choices": [{"index": 0, "text": "ho", "finish_reason": "stop"}]}, {"choices": [], "usage": usage}]
        body = "".join(f"data: {json.dumps(f)}\n\n" for f in frames) + "data: [DONE]\n\n"
        return web.Response(text=body, content_type="text/event-stream")


class World:
    def __init__(self, up, thinking, sdk, http):
        self.up, self.thinking, self.sdk, self.http = up, thinking, sdk, http

    def chat(self, model, stream=False, **more):
        """Returns (id, the field `headrace` beside the answer)."""
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream, **more}
        text = self.http.post("/v1/chat/completions", json=body).text
        if not stream:
            document = json.loads(text)
            return document["id"], document["choices"][0]["message"].get("headrace", {})
        frames = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: {")]
        deltas = [c["delta"] for f in frames for c in f.get("choices", ()) if "headrace" in c["delta"]]
        return next(f["id"] for f in frames if "id" in f), deltas[-1]["headrace"] if deltas else {}

    def respond(self, model, stream=False, **more):
        made = self.sdk.responses.create(model=model, input="hi", stream=stream, **more)
        return list(made)[-1].response if stream else made

    def captured(self, id):
        @uninterrupted
        async def read():
            async with self.up.services.database.read() as connection:
                return (await connection.execute(select(captures).where(captures.c.id == id))).mappings().one()

        return self.up.loop.do(read())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    scripted, thinking, loop = Scripted(), test_strategies.Engine(), Loop()
    with engine(loop, scripted.app()) as one, engine(loop, thinking.app()) as two:
        url, other = (f"http://127.0.0.1:{port}/v1" for port in (one, two))
        catalog = Catalog(
            models=(
                RemoteModel(name="echo", url=url, price=PRICE, prompt_cache="own"),
                *(
                    RemoteModel(name=name, url=url, price=PRICE, prompt_cache="own")
                    for name in ("cut", "status-500", "long")
                ),
                RemoteModel(name="unpriced", url=url, model="echo"),
                RemoteModel(name="thinks", url=other, price=EURO),
            ),
            aliases=(Alias(name="stable", targets=(Target(model="echo"),)),),
            assistants=(
                Assistant(name="clerk", model="stable", capture="none"),
                Assistant(name="reads", model="echo", knowledge=("sea",)),
                Assistant(name="voter", model="thinks", strategy=SelfConsistency(samples=3)),
            ),
        )
        folder = tmp_path_factory.mktemp("cost")
        with gateway(loop, folder, catalog, retrieval=Retrieval()) as up, up.sdk() as sdk, up.client() as http:
            yield World(up, thinking, sdk, http)
    loop.stop()


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])

DIRECT = {"amount": "0.0000027", "currency": "USD"}
"""7 tokens read, 2 of them from the cache, and 3 written."""


@both
@pytest.mark.parametrize("model", ["echo", "stable", "clerk", "long"])
def test_answers_report_their_cost(world, stream, model):
    id, beside = world.chat(model, stream)
    assert beside["cost"] == DIRECT
    response = world.respond(model, stream)
    assert response.model_extra["headrace"]["cost"] == DIRECT
    if model != "clerk":
        assert world.captured(id)["cost"] == world.captured(response.id)["cost"] == 0.0000027


@both
def test_unpriced_models_report_no_cost(world, stream):
    id, beside = world.chat("unpriced", stream)
    assert "cost" not in beside
    response = world.respond("unpriced", stream)
    assert "cost" not in (response.model_extra.get("headrace") or {})
    assert world.captured(id)["cost"] is world.captured(response.id)["cost"] is None


@both
def test_a_strategy_costs_all_its_tokens(world, stream):
    for ask in (lambda: world.chat("voter", stream), lambda: respond(world, stream)):
        world.thinking.says = ["#### 1", "#### 2", "#### 2"]
        id, beside = ask()
        assert beside["cost"] == {"amount": "0.0000675", "currency": "EUR"}  # three times 10 read and 5 written
        assert world.captured(id)["cost"] == 0.0000675


def respond(world, stream):
    response = world.respond("voter", stream)
    return response.id, response.model_extra["headrace"]


def test_a_stored_completion_shows_it(world):
    id, _ = world.chat("echo", store=True)
    stored = world.sdk.chat.completions.retrieve(id)
    assert stored.choices[0].message.model_extra["headrace"]["cost"] == DIRECT


def test_broken_answers_cost_what_was_used(world):
    world.thinking.says = ["#### 1", "#### 2", "fail"]
    id, _ = world.chat("voter", stream=True)
    captured = world.captured(id)
    assert (captured["outcome"], captured["prompt_tokens"], captured["cost"]) == ("error", 20, 0.000045)
    id, beside = world.chat("cut", stream=True)  # no engine says what it used before it broke off
    assert (world.captured(id)["outcome"], world.captured(id)["cost"], beside) == ("error", None, {})


def test_engines_without_usage_have_no_cost(world):
    answer = {"choices": [{"index": 0, "message": {"content": "#### 1"}, "finish_reason": "stop"}]}
    world.thinking.says = [answer] * 3
    id, beside = world.chat("voter")
    assert "cost" not in beside
    captured = world.captured(id)
    assert captured["cost"] is captured["currency"] is captured["prompt_tokens"] is None


@both
def test_answers_without_a_model_have_no_cost(world, stream):
    id, beside = world.chat("reads", stream)
    assert "cost" not in beside
    assert world.captured(id)["cost"] is None


@both
def test_a_completion_is_costed_in_its_capture(world, stream):
    body = {"model": "stable", "prompt": "hi", "stream": stream}
    text = world.http.post("/v1/completions", json=body).text
    document = json.loads(text.split("\n")[0].removeprefix("data: "))
    assert document["choices"] == [{"index": 0, "text": "ho", "finish_reason": "stop"}]
    captured = world.captured(document["id"])
    assert (captured["cost"], captured["currency"]) == (0.00000285, "USD")


def test_costs_are_counted_once(world):
    def counted(model, currency):
        return REGISTRY.get_sample_value("headrace_cost_total", {"model": model, "currency": currency}) or 0

    before = counted("echo", "USD"), counted("thinks", "EUR")
    world.chat("stable")
    world.chat("stable", stream=True)
    world.thinking.says = ["#### 2"] * 3
    world.chat("voter", stream=True)
    assert counted("echo", "USD") - before[0] == pytest.approx(2 * 0.0000027)
    assert counted("thinks", "EUR") - before[1] == pytest.approx(0.0000675)


def test_costs_are_the_tenants_and_the_assistants(world):
    def counted():
        costs = [sample for metric in REGISTRY.collect() for sample in metric.samples if "_cost_total" in sample.name]
        return [
            sum(each.value for each in costs if each.name == f"headrace_{who}_cost_total" and each.labels[who] == name)
            for who, name in (("tenant", "default"), ("assistant", "clerk"))
        ]

    before = counted()
    world.chat("clerk")
    world.chat("echo", stream=True)
    of_tenant, of_assistant = (now - then for now, then in zip(counted(), before, strict=True))
    assert of_tenant == pytest.approx(2 * 0.0000027)
    assert of_assistant == pytest.approx(0.0000027)


@pytest.mark.parametrize("message", [None, "ho", []])
def test_cost_is_not_added_to_invalid_messages(world, message):
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    world.thinking.says = [{"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}]
    response = world.http.post(
        "/v1/chat/completions", json={"model": "thinks", "messages": [{"role": "user", "content": "hi"}]}
    )
    assert response.status_code == 200
    assert "headrace" not in (response.json()["choices"][0]["message"] or {})


def test_streamed_usage_is_null_if_unreported(world):
    answer = {"choices": [{"index": 0, "message": {"content": "#### 1"}, "finish_reason": "stop"}]}
    world.thinking.says = [answer] * 3
    *_, last = world.sdk.chat.completions.create(
        model="voter",
        messages=[{"role": "user", "content": "?"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    assert (last.choices, last.usage) == ([], None)
    world.thinking.says = [answer] * 3
    assert world.respond("voter").usage is None
