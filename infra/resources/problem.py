"""The errors that providers report to the operator."""

from __future__ import annotations


class Problem(Exception):
    """An error that the operator can fix. The message, with the problem and its fix, is shown without a traceback."""


class Interrupted(Problem):
    """The operator interrupted the operation. The next one adopts whatever it started."""


class Ended(Problem):
    """A process ended during its start."""
