"""The target of a model's autoscaler is the one that is set, or follows from its objectives."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from infra import application
from infra.config import StackConfig
from infra.layout import CHECKOUT
from monitoring.autoscaling import autoscaling_target
from monitoring.objectives import OBJECTIVES
from serving.config import App, Autoscaling, LlamaCppModel, Replicas, VllmModel

TTFT = next(one for one in OBJECTIVES if one.name == "time_to_first_token")
MEASURED = {"service_s": 6, "first_token_s": 0.4}


def model(**settings: Any) -> LlamaCppModel:
    return LlamaCppModel.model_validate({"name": "small", "source": "package://weights/small.gguf"} | settings)


def requests(scaled: LlamaCppModel | VllmModel | App) -> float:
    target = scaled.scaling_target()
    assert target is not None
    return target.requests


def scaling(**settings: Any) -> dict[str, Any]:
    return {"max_replicas": 4, **settings}


def test_without_objectives_the_target_is_serves_own_default() -> None:
    assert requests(model(autoscaling=scaling())) == 2
    assert model().scaling_target() is None


def test_a_set_target_wins_over_objectives_and_measured_times() -> None:
    set_target = scaling(target_ongoing_requests=3.5, measured=MEASURED)
    assert requests(model(autoscaling=set_target, objectives={"first_token_s": 1})) == 3.5


def test_measured_times_give_what_the_command_prints() -> None:
    printed = autoscaling_target(TTFT, slots=4, service_s=6, unloaded_s=0.4)
    assert requests(model(autoscaling=scaling(measured=MEASURED))) == float(f"{printed:.2g}")


def test_the_target_follows_from_the_objectives() -> None:
    """95 % of exponential times with a mean of E / ln 20 are within E: the model's answers take what they may."""
    target = model(autoscaling=scaling(), objectives={"first_token_s": 2.5, "end_to_end_s": 60})
    assert 1 - math.exp(-60 / (60 / math.log(20))) == pytest.approx(0.95)
    derived = autoscaling_target(TTFT, slots=4, service_s=60 / math.log(20), unloaded_s=1.25)
    assert requests(target) == float(f"{derived:.2g}")
    strict, lenient = (model(autoscaling=scaling(), objectives={"first_token_s": s}) for s in (0.5, 20))
    assert requests(strict) < requests(lenient) <= 4


def test_more_requests_at_once_allow_a_higher_target() -> None:
    objectives = {"first_token_s": 2}
    large = VllmModel.model_validate(
        {"name": "large", "source": "hf://o/large", "autoscaling": scaling(), "objectives": objectives}
        | {"max_num_seqs": 64}
    )
    app = App.model_validate({"name": "app", "object": "app:graph", "autoscaling": scaling(), "objectives": objectives})
    assert requests(model(autoscaling=scaling(), objectives=objectives)) < requests(app) < requests(large) <= 64


@pytest.mark.parametrize(
    ("measured", "objectives", "says"),
    [
        ({"first_token_s": 2.5}, None, "first_token_s is 2.5 s without any wait, but .* allows 2.5 s"),
        ({"first_token_s": 0.9}, {"first_token_s": 0.8}, "allows 0.8 s: no number of replicas helps"),
        ({"between_tokens_s": 0.2}, None, "between_tokens_s allows 0.1 s: lower the requests"),
        ({"service_s": 31}, None, "end_to_end_s allows 30 s at most: the mean answer is late"),
        ({"service_s": 0}, None, "greater than 0"),
    ],
)
def test_times_that_no_number_of_replicas_mends_are_refused(
    measured: dict[str, float], objectives: dict[str, float] | None, says: str
) -> None:
    with pytest.raises(ValidationError, match=says):
        model(autoscaling=scaling(measured=MEASURED | measured), objectives=objectives)


def test_an_objective_of_a_class_of_lengths_counts_too() -> None:
    longer = {"end_to_end_by_length_s": {"long": 100}}
    assert requests(model(autoscaling=scaling(measured=MEASURED | {"service_s": 31}), objectives=longer)) > 0


def test_measured_times_are_for_models_that_chat() -> None:
    with pytest.raises(ValidationError, match="measured, which is for models whose task is chat"):
        model(task="rerank", autoscaling=scaling(measured=MEASURED))
    with pytest.raises(ValidationError, match="measured is for models: this has no objectives"):
        Replicas(replicas=1, cpus=1, autoscaling=Autoscaling.model_validate(scaling(measured=MEASURED)))


def test_serve_and_the_chart_get_the_target_and_the_preview_says_why() -> None:
    stack = StackConfig.model_validate(
        {
            "assistants": [],
            "knowledge": [],
            "models": [
                model(autoscaling=scaling(measured=MEASURED)).model_dump(),
                model(name="fixed").model_dump(),
                {"engine": "remote", "name": "far", "url": "http://127.0.0.1:9000/v1"},
            ],
        }
    )
    [small, *others] = application.catalog(stack, CHECKOUT).models
    assert isinstance(small, LlamaCppModel)
    assert small.autoscaling == Autoscaling(max_replicas=4, target_ongoing_requests=1.8)
    assert others == list(stack.models[1:])
    [line] = application.scaling_lines(stack)
    assert line.startswith("Autoscaling of 'small': target_ongoing_requests 1.8, Erlang's C formula with 4 requests")
    assert "measured, 6 s in a slot and 0.4 s to the first token" in line
