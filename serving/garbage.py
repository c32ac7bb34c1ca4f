"""How often a replica looks through its memory for garbage.

A replica that has started holds some 350,000 objects that stay, which Python would look through again and again: 200 ms
each time, in which every stream waits, and a seventh of a busy gateway's time. docs/decisions/0011-garbage.md has the
figures.
"""

from __future__ import annotations

import gc

YOUNG = 5000
"""Objects that are made, less those that are gone, before the young ones are looked through. Python's 700 are those of
six streams, whose objects are then looked through although nearly all are in use."""


def settle() -> None:
    """Leaves what is there now out of all later looks, until it is called again. Takes as long as one look."""
    gc.unfreeze()  # what was replaced since the last time is garbage by now
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
