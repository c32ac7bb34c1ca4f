"""Operations of data sets and of jobs that tune models."""

from __future__ import annotations

from serving.api.operation import Operation
from serving.api.parameters import AFTER, LIMIT, PAGE
from serving.api.routes import fine_tuning
from serving.api.routes.hub import datasets, jobs
from serving.protocol.tuning import DatasetRequest, FineTuningRequest, JobRequest

_DATASET = "/v1/hub/datasets/{dataset_id}"
_JOB = "/v1/hub/jobs/{job_id}"
_FRONT = "/v1/fine_tuning/jobs/{job_id}"
_NEWEST_FIRST = (LIMIT, AFTER)

TUNING_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST", "/v1/hub/datasets", datasets.create, DatasetRequest, scope="hub:write", audited="hub_dataset.create"
    ),
    Operation("GET", "/v1/hub/datasets", datasets.list_page, query=PAGE, scope="hub:read"),
    Operation("GET", _DATASET, datasets.get, scope="hub:read"),
    Operation("DELETE", _DATASET, datasets.delete, scope="hub:write", audited="hub_dataset.delete"),
    Operation("POST", "/v1/hub/jobs", jobs.create, JobRequest, scope="hub:write", audited="hub_job.create"),
    Operation("GET", "/v1/hub/jobs", jobs.list_page, query=_NEWEST_FIRST, scope="hub:read"),
    Operation("GET", _JOB, jobs.get, scope="hub:read"),
    Operation("POST", f"{_JOB}/cancel", jobs.cancel, scope="hub:write", audited="hub_job.cancel"),
    Operation("GET", f"{_JOB}/events", jobs.events, scope="hub:read"),
    Operation(
        "POST",
        "/v1/fine_tuning/jobs",
        fine_tuning.create,
        FineTuningRequest,
        scope="hub:write",
        audited="hub_job.create",
    ),
    Operation("GET", "/v1/fine_tuning/jobs", fine_tuning.list_page, query=_NEWEST_FIRST, scope="hub:read"),
    Operation("GET", _FRONT, fine_tuning.get, scope="hub:read"),
    Operation("POST", f"{_FRONT}/cancel", fine_tuning.cancel, scope="hub:write", audited="hub_job.cancel"),
    Operation("GET", f"{_FRONT}/events", fine_tuning.list_events, query=_NEWEST_FIRST, scope="hub:read"),
)
