"""Signals of one-shot programs: in a pod they terminate as elsewhere."""

from __future__ import annotations

import signal


def end_at_term() -> None:
    """Makes SIGTERM equivalent to Ctrl-C.

    The first process of a container has no default action for it: without a handler it would ignore the kubelet, and
    the pod would end only after its whole grace period.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell start with SIGINT ignored
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
