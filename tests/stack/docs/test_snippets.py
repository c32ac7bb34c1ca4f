"""The snippets of the documentation work on a stack: each page's, in their order, as a reader types them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pages import snippets
from tests.stack.docs.reader import read
from tests.stacks.stack import Stack

pytestmark = pytest.mark.full


@pytest.mark.parametrize("page", [page for page in snippets.pages() if snippets.run_of(page)])
def test_snippets_of_a_page_run_and_print_what_it_shows(page: str, stack: Stack, tmp_path: Path) -> None:
    read(page, stack, tmp_path)
