"""What stays is left out of the looks for garbage, and what does not is still found."""

from __future__ import annotations

import subprocess
import sys

SETTLED = """
import gc, weakref
from serving.garbage import YOUNG, settle

class Catalog:
    def __init__(self):
        self.itself = self

first = Catalog()
settle()
assert gc.get_freeze_count() > 1000
assert not any(each is first for each in gc.get_objects())
assert gc.get_threshold()[0] == YOUNG

request, replaced = weakref.ref(Catalog()), weakref.ref(first)
gc.collect()
assert request() is None  # a cycle that was made after
first = Catalog()
gc.collect()
assert replaced() is not None
settle()
assert replaced() is None  # what was there before, once it was replaced
"""


def test_what_stays_is_left_out_and_garbage_is_found():
    subprocess.run([sys.executable, "-c", SETTLED], check=True)
