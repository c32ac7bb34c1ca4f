"""What a name leads to."""

from __future__ import annotations

from serving.assistants.resolver import Resolver, Route
from serving.config import Alias, Assistant, Catalog, Lora, Price, RemoteModel, Target, VllmModel

BASE = VllmModel(name="base", source="hf://a/b", loras=(Lora(name="tuned", source="hf://a/c"),))
PLAIN = RemoteModel(name="plain", url="http://127.0.0.1:1/v1")
DOCS = Assistant(name="docs", model="stable")
STABLE = Alias(name="stable", targets=(Target(model="tuned"),))


def test_a_route_says_what_every_name_led_to():
    resolver = Resolver(Catalog(models=(BASE, PLAIN), aliases=(STABLE,), assistants=(DOCS,)))
    assert resolver.resolve("docs") == Route("docs", DOCS, "stable", "tuned", adapts="base")
    assert resolver.resolve("tuned") == Route("tuned", None, "tuned", "tuned", adapts="base")
    assert resolver.resolve("base") == Route("base", None, "base", "base")
    assert resolver.resolve("plain") == Route("plain", None, "plain", "plain")
    assert resolver.resolve("none") is None


def test_an_adapter_has_the_price_of_its_model():
    price = Price(input=1, output=2)
    resolver = Resolver(Catalog(models=(BASE.model_copy(update={"price": price}), PLAIN), aliases=(STABLE,)))
    assert [resolver.resolve(name).price for name in ("stable", "tuned", "base", "plain")] == [price] * 3 + [None]
