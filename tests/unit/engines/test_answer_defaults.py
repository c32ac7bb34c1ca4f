"""What answers of llama.cpp have by default; requests that say it themselves and other engines are left alone."""

from __future__ import annotations

from typing import Any

import pytest

from serving.config import Catalog, LlamaCppModel, RemoteModel
from serving.core.principal import Principal
from serving.engines.router import AnswerDefaults, ModelRouter, Route

ANN = Principal("acme", "ann", "key")


def route(**more: Any) -> Route:
    small = LlamaCppModel(name="small", source="file:///small.gguf", **more)
    found = ModelRouter(Catalog(models=(small, RemoteModel(name="far", url="http://far/v1")))).resolve("small", ANN)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("asked", "added"),
    [
        ({}, {"max_tokens": 512, "repeat_penalty": 1.1}),
        ({"seed": 1, "stop": ["."]}, {"max_tokens": 512, "repeat_penalty": 1.1}),
        ({"max_tokens": 2000}, {"repeat_penalty": 1.1}),
        ({"temperature": 0}, {"max_tokens": 512}),
        ({"frequency_penalty": 0.0}, {"max_tokens": 512}),
        ({"tools": [{}]}, {}),
        ({"response_format": {"type": "json_object"}}, {}),
    ],
)
def test_only_what_a_request_leaves_open_is_set(asked: dict[str, Any], added: dict[str, Any]) -> None:
    document = dict(asked)
    defaults = route().defaults
    assert defaults is not None
    defaults.complete(document)
    assert document == asked | added


def test_the_configuration_sets_the_defaults() -> None:
    assert route(answer_tokens=None, repeat_penalty=1).defaults == AnswerDefaults(None, 1)
    assert route(context=256, slots=4).defaults == AnswerDefaults(32, 1.1), "half is for the prompt"


def test_remote_models_get_no_defaults() -> None:
    far = ModelRouter(Catalog(models=(RemoteModel(name="far", url="http://far/v1"),))).resolve("far", ANN)
    assert far is not None
    assert far.defaults is None
