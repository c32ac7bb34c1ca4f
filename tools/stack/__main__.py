"""`python -m tools.stack VERB`: what the Makefile calls to run Pulumi on one stack of this checkout."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from infra.layout import CHECKOUT
from tools.report import ToolError, say
from tools.stack import choose_model
from tools.stack.verbs import VERBS
from tools.stack.workspace import FIRST_PROGRAMS, INTERRUPTED, PROGRAMS, Workspace


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.stack", description=__doc__)
    parser.add_argument("--stack", default=os.environ.get("STACK", "local"))
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to Pulumi")
    options = parser.parse_args(argv)
    arguments = [a for i, a in enumerate(options.arguments) if (i, a) != (0, "--")]
    os.chdir(CHECKOUT)
    try:
        if options.verb == "up":
            request = choose_model.Request.from_environment(os.environ)
            if not choose_model.check(Workspace(options.stack, {}), request):
                return 0
        # A state that is to be moved is not where the configuration says.
        first = options.verb == "up" and Workspace(options.stack, {}).is_new
        workspace = Workspace.prepare(
            options.stack,
            create=options.verb != "migrate",
            changes=options.verb == "up",
            programs=FIRST_PROGRAMS if first else PROGRAMS,
        )
        return VERBS[options.verb](workspace, arguments)
    except ToolError as e:
        say(f"error: {e}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; run the same command again to continue")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
