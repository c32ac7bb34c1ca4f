"""`make tuning`: installs the environment that tunes models, and links it into this one.

It takes 6 GB, since torch brings CUDA's libraries.
"""

from __future__ import annotations

import sys

from serving.config import TRAINING
from tools.environment import locked_environment
from tools.report import ToolError, say


def main() -> int:
    """Installs the environment and links it."""
    try:
        folder = locked_environment("training")
    except ToolError as e:
        print(e, file=sys.stderr)
        return 1
    TRAINING.unlink(missing_ok=True)
    TRAINING.symlink_to(folder)
    say(f"{TRAINING} is the environment that tunes models")
    return 0


if __name__ == "__main__":
    sys.exit(main())
