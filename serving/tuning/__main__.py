"""`python -m serving.tuning PLAN`: runs the job of a plan, which `serving.tuning.plan` describes.

It writes lines of JSON to standard output. SIGTERM makes it write a checkpoint and end with the status `INTERRUPTED`;
the same command then goes on from there. It ends when its standard input closes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from serving.tuning.interruption import Interruption, TuningInterrupted
from serving.tuning.plan import FAILED, INTERRUPTED, Plan, RecipeFailed
from serving.tuning.progress import EventLog, end_with_parent

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}
"""Environment of the libraries: they fetch nothing and report nothing."""


def main(file: str) -> int:
    """Runs one job and returns the exit status."""
    progress = EventLog()
    end_with_parent()
    interruption = Interruption()
    plan = Plan.read(Path(file))
    os.nice(19 - os.nice(0))
    os.environ |= QUIET | {"OMP_NUM_THREADS": str(plan.threads)}
    try:
        if plan.method == "quantise":
            from serving.tuning.quantising import quantise_job

            quantise_job(plan, progress, interruption)
        else:
            progress.say("stage", stage="libraries")
            from serving.tuning.recipes import run  # PyTorch takes seconds to import

            run(plan, progress, interruption)
    except TuningInterrupted as e:
        progress.say("interrupted", step=e.step)
        return INTERRUPTED
    except RecipeFailed as e:
        progress.say("failed", code=e.code, message=str(e))
        return FAILED
    progress.say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
