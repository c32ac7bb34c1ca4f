"""The one error of this package."""

from __future__ import annotations


class Problem(Exception):
    """Something that the operator can put right: the message says what is wrong and what to do about it.

    It is shown as it stands, without a traceback.
    """


class Interrupted(Problem):
    """The operator interrupted the operation; what it started is left to be adopted by the next one."""


class Ended(Problem):
    """A process ended while it started."""
