"""Replaces functions of a module that everything in the process uses, for one module alone."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


def replace(monkeypatch: pytest.MonkeyPatch, user: ModuleType, used: ModuleType, **new: Callable[..., Any]) -> None:
    """Gives `user` these functions in place of those of `used`, which it has imported under its own name.

    Other tasks and threads of the process go on with the real ones.
    """
    monkeypatch.setattr(user, used.__name__, SimpleNamespace(**vars(used) | new))
