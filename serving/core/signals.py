"""Signals of the programs that run once: those of a pod are asked to end as everywhere else."""

from __future__ import annotations

import signal


def end_at_term() -> None:
    """Makes SIGTERM what Ctrl-C is.

    The first process of a container has no default action for it: without a handler it would be deaf to the kubelet,
    and the pod end with its whole grace period.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background is born deaf to it
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
