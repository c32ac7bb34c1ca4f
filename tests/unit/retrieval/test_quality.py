"""A floor under retrieval quality, on a part of Cranfield (the whole: bench/retrieval/cranfield.py)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from serving.retrieval.embedders.onnx import OnnxEmbedder

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data"
DOCUMENTS = 80
FLOORS = {"bm25": 0.53, "dense": 0.56, "hybrid": 0.60}


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cranfield", ROOT / "bench" / "retrieval" / "cranfield.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not (DATA / "cranfield").is_dir(), reason=f"there is no Cranfield collection in {DATA}")
def test_each_leg_and_fusion_stay_above_their_floor(
    bench: ModuleType, of_documents: OnnxEmbedder, tmp_path: Path
) -> None:
    data = bench.Cranfield.load(DATA, DOCUMENTS)
    index = bench.build(data, of_documents, str(tmp_path))
    vectors = dict(zip(data.queries, of_documents.embed(list(data.queries.values()), "query"), strict=True))
    figures = {
        mode: bench.ndcg(bench.search(index, data, vectors, mode), data.judgements, data.queries) for mode in FLOORS
    }
    assert all(figures[mode] >= floor for mode, floor in FLOORS.items()), figures
    assert figures["hybrid"] > max(figures["bm25"], figures["dense"]), figures
