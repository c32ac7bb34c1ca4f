"""The services of the registry and its jobs, which a gateway wires together."""

from __future__ import annotations

from serving.config import ServingConfig
from serving.hub.artefacts import Artefacts
from serving.hub.bases import Bases
from serving.hub.consents import Consents
from serving.hub.datasets import Datasets
from serving.hub.jobs.freezing import DatasetRequests
from serving.hub.jobs.tuning import TuningJobs
from serving.hub.versions import Versions
from serving.store.files import Files
from serving.store.jobs.queue import Jobs
from serving.store.objects import data
from serving.store.relational.database import Database


class RegistryServices:
    """Versions, their bases, data sets, and the jobs that make them."""

    def __init__(self, config: ServingConfig, database: Database, jobs: Jobs, files: Files) -> None:
        self.artefacts = artefacts = Artefacts(data.place(config.store, data.HUB))
        self.versions = Versions(database, artefacts)
        self.consents = Consents(database)
        self.bases = Bases()
        self.datasets = Datasets(database, artefacts)
        self.dataset_requests = DatasetRequests(database, jobs, self.datasets, files)
        self.tuning_jobs = TuningJobs(config.tuning, jobs, self.datasets, self.versions, artefacts)
