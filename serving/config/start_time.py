"""How long weights may take to arrive and to load: the timeouts of starts follow from their bytes."""

from __future__ import annotations

import math

BYTES_PER_S = 100 * 2**20
"""Least throughput that starts count on, of a disk and of the path to the weights.

The slowest default disks of nodes read 125 MB/s: gp3 of AWS
(https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html) and P15 of Azure
(https://learn.microsoft.com/azure/virtual-machines/disks-types). A pd-balanced disk of 200 GiB reads 196 MiB/s
(https://cloud.google.com/compute/docs/disks/performance).
"""

BASE_S = 1800
"""Time in seconds for what does not grow with the weights: a node, an image, compilation, CUDA graphs."""


def transfer_seconds(size: int) -> int:
    """Returns how many seconds `size` bytes take at `BYTES_PER_S`, rounded up."""
    return math.ceil(size / BYTES_PER_S)


def start_seconds(size: int) -> int:
    """Returns the timeout in seconds of a start that reads `size` bytes once."""
    return BASE_S + transfer_seconds(size)
