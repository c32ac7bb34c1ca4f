"""How an assistant that a tenant made becomes a route."""

from __future__ import annotations

from serving.assistants.register import OwnAssistant
from serving.config import Alias, Catalog, RemoteModel, Target
from serving.core.principal import Principal
from serving.engines.router import ModelRouter


def test_each_target_of_its_alias_answers_as_the_assistant() -> None:
    models = tuple(RemoteModel(name=name, url="http://127.0.0.1:9/v1") for name in ("a", "b"))
    chat = Alias(name="chat", targets=(Target(model="a", weight=1), Target(model="b", weight=1)))
    router = ModelRouter(Catalog(models=models, aliases=(chat,)))
    made = OwnAssistant(
        "asst_1", "acme", "ann", "helpdesk", 1, None, 0.0, {"model": "chat", "vector_store_ids": ["vs_1"]}
    )
    route = made.route(router, "helpdesk", Principal("acme", "ann", "key_1"))
    assert route is not None
    routes = [route, *route.alternatives]
    assert sorted(each.model for each in routes) == ["a", "b"]
    assert {(each.requested, each.stores, each.own) for each in routes} == {("helpdesk", ("vs_1",), True)}
    assert {each.assistant.name for each in routes if each.assistant is not None} == {"asst_1"}
