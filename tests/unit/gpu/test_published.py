"""The fit check against memory that others measured: `published.yaml` has each figure with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.gpu import fit
from infra.nodes.accelerators import GIB, accelerator_by_key
from serving.config import Geometry, VllmModel

WITHIN = 0.1

_PUBLISHED = yaml.load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
GEOMETRIES = {name: Geometry(**known["geometry"]) for name, known in _PUBLISHED["models"].items()}
FIGURES: list[dict[str, Any]] = _PUBLISHED["figures"]

SETTINGS = {"quantization", "kv_cache_dtype", "tensor_parallel", "pipeline_parallel", "gpu_memory_utilization"}


def served(figure: dict[str, Any]) -> VllmModel:
    """The figure's model as a configuration says it, with all the tokens that were held."""
    settings = {key: value for key, value in figure.items() if key in SETTINGS}
    context = figure.get("tokens") or figure.get("kv_tokens")
    return VllmModel(name="published", source=f"hf://published/{figure['model']}", context=context, **settings)


def weights(figure: dict[str, Any]) -> int:
    return fit.weights_bytes(GEOMETRIES[figure["model"]], "auto", figure.get("quantization"))[0]


def cache(figure: dict[str, Any]) -> int:
    """Bytes on each GPU."""
    model = served(figure)
    return fit.kv_cache_bytes(
        GEOMETRIES[figure["model"]],
        model.context or 0,
        dtype=model.dtype,
        kv_cache_dtype=model.kv_cache_dtype,
        tensor_parallel=model.tensor_parallel,
        pipeline_parallel=model.pipeline_parallel,
    )[0]


def fits(figure: dict[str, Any], **changed: Any) -> bool:
    gpu = accelerator_by_key(figure["gpu"])
    assert gpu
    return fit.compute_fit(served(figure).model_copy(update=changed), gpu, GEOMETRIES[figure["model"]]).fits


def those(key: str, *, known_gpu: bool = False) -> pytest.MarkDecorator:
    figures = [f for f in FIGURES if key in f and (accelerator_by_key(f["gpu"]) or not known_gpu)]
    ids = ["-".join([f["model"], f["gpu"], *(str(f[s]) for s in sorted(SETTINGS & f.keys()))]) for f in figures]
    return pytest.mark.parametrize("figure", figures, ids=ids)


@those("total_gib")
def test_the_total_memory_is_as_published(figure: dict[str, Any]) -> None:
    counted = weights(figure) + cache(figure) * served(figure).gpus
    assert counted / GIB == pytest.approx(figure["total_gib"], rel=WITHIN)


@those("weights_gib")
def test_the_weights_are_as_published(figure: dict[str, Any]) -> None:
    assert weights(figure) / served(figure).gpus / GIB == pytest.approx(figure["weights_gib"], rel=WITHIN)


@those("kv_gib")
def test_the_kv_cache_is_as_published(figure: dict[str, Any]) -> None:
    assert cache(figure) / GIB == pytest.approx(figure["kv_gib"], rel=WITHIN)


@those("gpu", known_gpu=True)
def test_published_working_setups_are_accepted(figure: dict[str, Any]) -> None:
    assert fits(figure)


@those("refused")
def test_published_failing_setups_are_rejected(figure: dict[str, Any]) -> None:
    assert not fits(figure, context=figure["refused"])


def test_there_are_twenty_pairs_of_model_and_gpu_with_sources() -> None:
    assert len({(f["model"], f["gpu"]) for f in FIGURES}) >= 20
    assert all(f["source"].startswith("https://") and f["quote"] for f in FIGURES)
    assert all({"total_gib", "weights_gib", "kv_gib"} & f.keys() for f in FIGURES)
