from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.routes.whole import serving
from tests.contract.running import Gateway
from tests.servers.identity_provider import IdentityProvider


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, identity_provider: IdentityProvider) -> Iterator[Gateway]:
    """The whole API of this process, for tests that leave it as it was or ask in a tenant of their own."""
    with serving(tmp_path_factory.mktemp("whole"), identity_provider.url) as up:
        yield up
