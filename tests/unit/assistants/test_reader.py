"""Whether an assistant or a model quotes documents, or answers from them."""

from __future__ import annotations

import pytest

from serving.assistants.reader import quotes
from serving.config import Alias, Assistant, Catalog, RemoteModel, Target
from serving.core.principal import Principal
from serving.engines.router import ModelRouter

URL = "http://127.0.0.1:1/v1"
ANN = Principal("acme", "ann", "")
ROUTER = ModelRouter(
    Catalog(
        models=(RemoteModel(name="tiny", url=URL, grounded=False), RemoteModel(name="large", url=URL)),
        aliases=(
            Alias(name="mixed", targets=(Target(model="tiny"), Target(model="large"))),
            Alias(name="weak", targets=(Target(model="tiny"),)),
        ),
        assistants=(
            Assistant(name="docs", model="weak", knowledge=("docs",)),
            Assistant(name="exact", model="large", knowledge=("docs",), unsupported="quote"),
            Assistant(name="bold", model="tiny", knowledge=("docs",), unsupported="mark"),
        ),
    )
)


@pytest.mark.parametrize(
    ("name", "so"),
    [
        ("tiny", True),
        ("large", False),
        ("mixed", False),
        ("weak", True),
        ("docs", True),
        ("exact", True),
        ("bold", False),
    ],
)
def test_what_an_assistant_says_decides_and_else_all_of_its_models(name: str, so: bool) -> None:
    for _ in range(5):  # an alias chooses among its targets
        route = ROUTER.resolve(name, ANN)
        assert route is not None
        assert quotes(route) is so
