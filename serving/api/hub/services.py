"""The model hub's services, which a gateway wires together."""

from __future__ import annotations

import logging
from collections.abc import Callable

from serving.api.background.evaluations import EvaluationRunner
from serving.api.hub.registry import RegistryServices
from serving.assistants.sandbox.on_demand import SandboxOnDemand
from serving.config import Catalog, Limits
from serving.engines.router import ModelRouter, ReleasedTargets
from serving.hub.evaluations import Evaluations
from serving.hub.live import Live
from serving.hub.outcomes import Outcomes
from serving.hub.release_keeper import ReleaseKeeper
from serving.hub.released_versions import ReleasedVersions
from serving.hub.releases import Releases
from serving.hub.suites import Suites
from serving.hub.training_data import TrainingData
from serving.security.absent_callers import AbsentCallers
from serving.store.errors import StoreUnavailable
from serving.store.jobs.queue import Jobs
from serving.store.relational.database import Database

log = logging.getLogger("headrace.api")

EVALUATIONS = 2
"""Number of evaluations, each of another tenant, that a gateway runs at once."""


class HubServices:
    """Suites, evaluations and releases, and what runs them."""

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        registry: RegistryServices,
        callers: AbsentCallers,
        sandbox: SandboxOnDemand,
        limits: Limits,
        router: Callable[[], ModelRouter],
        live: Live,
    ) -> None:
        training = TrainingData(registry.versions, registry.datasets, registry.artefacts)
        self.suites = Suites(database)
        self.evaluations = Evaluations(database, jobs, registry.versions)
        self.evaluating = EvaluationRunner(self.evaluations, self.suites, callers, sandbox, training, limits)
        self.releases = Releases(database)
        self.released = ReleasedTargets()
        self.versions = ReleasedVersions(database, registry.versions, live)
        self.keeper = ReleaseKeeper(self.releases, Outcomes(database), self.released, router)

    def configure(self, catalog: Catalog) -> None:
        """Takes a new catalogue, which the router has already."""
        self.keeper.configure(catalog)
        self.versions.configure(catalog)

    async def load_releases(self) -> None:
        """Sets the targets of managed aliases, before the first request of a new catalogue."""
        try:
            await self.keeper.refresh()
        except StoreUnavailable as e:  # the keeper goes on trying
            log.warning("releases are not up to date: %s", e)
