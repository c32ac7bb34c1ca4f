"""The training data of a version, as far as suites must not contain it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

from serving.core.principal import Principal
from serving.hub.artefacts import Artefacts
from serving.hub.datasets import Datasets
from serving.hub.evaluation.overlap import SuitePrompts, user_texts
from serving.hub.versions import Versions
from serving.protocol.suites import Suite

ROWS = ".jsonl"


class TrainingData:
    """Compares suites with the data sets of versions."""

    def __init__(self, versions: Versions, datasets: Datasets, artefacts: Artefacts) -> None:
        self._versions = versions
        self._datasets = datasets
        self._artefacts = artefacts

    async def shared(self, principal: Principal, version: str, suite: Suite) -> list[int]:
        """Returns the numbers of the prompts of which the data sets of a version, or of those that it was made from,
        have a copy or near-duplicate.

        Raises `NotFound` if a version or a file of a data set is gone, and `ValueError` for a file that has no rows of
        JSON.
        """
        compared = SuitePrompts([prompt.chat[-1]["content"] for prompt in suite.prompts])
        found: set[int] = set()
        for dataset in await self._used(principal, version):
            for file in (await self._datasets.get(principal, dataset)).files:
                if file.name.endswith(ROWS):
                    async for lines in _lines(await self._artefacts.open(dataset, file.name)):
                        found |= await asyncio.to_thread(compared.shared, user_texts(lines))
        return sorted(found)

    async def _used(self, principal: Principal, version: str) -> Collection[str]:
        """Returns the data sets of a version, and of those that it was made from."""
        found: dict[str, None] = {}
        left, seen = [version], {version}
        while left:
            one = await self._versions.get(principal, left.pop())
            found |= dict.fromkeys(one.datasets)
            left += [parent for parent in one.parents if parent not in seen]
            seen.update(one.parents)
        return found


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Yields the lines of each part of a content: a data set may be larger than a gateway's memory."""
    begun = b""
    async for chunk in chunks:
        begun, *lines = [*reversed((begun + chunk).split(b"\n"))]
        yield lines
    yield [begun]
