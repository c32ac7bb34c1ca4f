"""What the OpenAI Agents SDK and LlamaIndex document runs against the API: python_samples.py, in one process."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.contract.routes.whole import CLERK
from tools import environment

SAMPLES = Path(__file__).with_name("python_samples.py")
SAMPLES_S = 600


def test_documented_python_samples_run(whole, subtests):
    python = environment.locked_environment("clients") / "bin" / "python"
    place = {"OPENAI_BASE_URL": f"{whole.url}/v1", "OPENAI_API_BASE": f"{whole.url}/v1", "OPENAI_API_KEY": whole.key}
    told = place | {"OPENAI_DEFAULT_MODEL": CLERK, "OPENAI_AGENTS_DISABLE_TRACING": "1"}
    done = subprocess.run(
        [python, SAMPLES],
        env={**os.environ, **told},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SAMPLES_S,
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) > 5, done.stderr
    for result in results:
        with subtests.test(result["name"]):
            assert result["failure"] is None, result["failure"]
