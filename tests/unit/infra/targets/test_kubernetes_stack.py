"""What Pulumi is told about the chart's objects, beside what the chart says of them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pulumi import ResourceOptions, ResourceTransformArgs

from infra.config import StackConfig
from infra.targets.kubernetes_stack import CHART, await_annotations

MARGIN_S = 300
"""Until pods end at all, and for the volume itself."""


def told(kind: str, **settings: Any) -> dict[str, Any] | None:
    metadata = {"name": "a", "annotations": {"kept": "yes"}}
    args = ResourceTransformArgs(
        custom=True, type_=f"kubernetes:{kind}", name="a", props={"metadata": metadata}, opts=ResourceOptions()
    )
    changed = await_annotations(StackConfig.model_validate(settings))(args)
    assert metadata["annotations"] == {"kept": "yes"}
    return changed and dict(changed.props)["metadata"]["annotations"]


def test_up_waits_until_the_application_answers() -> None:
    annotations = told("ray.io/v1:RayService")
    assert annotations
    assert annotations["kept"] == "yes"
    assert "condition=Ready" in annotations["pulumi.com/waitFor"]


def test_up_waits_as_long_as_the_weights_take() -> None:
    """140 GB at 100 MiB/s: 1,336 s to fetch and as much to load, beside half an hour each for node and engine."""
    model = {
        "engine": "vllm",
        "name": "llama",
        "source": "hf://org/llama",
        "pool": "serving",
        "geometry": {"parameters": 70_000_000_000, "layers": 80, "kv_heads": 8, "head_dim": 128},
    }
    waits = (told("ray.io/v1:RayService", models=[model], assistants=[]) or {})["pulumi.com/timeoutSeconds"]
    assert waits == str(1800 + 1336 + 1800 + 1336)
    for kind in ("ray.io/v1:RayService", "batch/v1:Job"):
        own = told(kind, models=[model], assistants=[], kubernetes={"ready_timeout_s": 7000}) or {}
        assert own["pulumi.com/timeoutSeconds"] == "7000"


def test_the_secrets_of_a_store_are_waited_for_and_claims_are_not() -> None:
    """Pulumi's provider would wait five minutes to see a claim pending that is bound before it looks."""
    assert (told("external-secrets.io/v1:ExternalSecret") or {})["pulumi.com/waitFor"] == "condition=Ready"
    assert (told("core/v1:PersistentVolumeClaim") or {})["pulumi.com/skipAwait"] == "true"


def test_claims_wait_for_draining_pods() -> None:
    annotations = told("core/v1:PersistentVolumeClaim")
    assert annotations
    streams = yaml.safe_load((CHART / "values.yaml").read_text())["streams"]
    assert int(annotations["pulumi.com/timeoutSeconds"]) > streams["drainSeconds"] + 60 + MARGIN_S


@pytest.mark.parametrize("kind", ["core/v1:ConfigMap", "networking.k8s.io/v1:NetworkPolicy"])
def test_other_resources_get_no_annotations(kind: str) -> None:
    assert told(kind) is None
