"""The images themselves, built here: `make test-cluster` runs these, for they need root and Debian's programs."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.images.base import NAME as BASE
from tools.images.base import base_image
from tools.images.build import Image, build
from tools.images.buildah import Buildah, check
from tools.report import ToolError


@pytest.fixture(scope="session", autouse=True)
def host_can_build() -> None:
    try:
        check()
    except ToolError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def serving() -> Image:
    return build("serving")


@pytest.fixture(scope="session")
def postgres() -> Image:
    return build("postgres")


@pytest.fixture
def empty_store() -> Iterator[Buildah]:
    """A builder that has built nothing yet."""
    with tempfile.TemporaryDirectory(prefix="headrace-layers-") as folder:
        store = Buildah(Path(folder))
        store.pull(base_image(), BASE)
        yield store
