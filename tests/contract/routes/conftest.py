from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.routes.whole import serving
from tests.contract.running import Gateway


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The whole API of this process, for tests that leave it as it was or ask in a tenant of their own."""
    with serving(tmp_path_factory.mktemp("whole")) as up:
        yield up
