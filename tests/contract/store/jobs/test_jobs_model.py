"""The jobs table against a model of it, over random interleavings of three workers, cancels and dying leases."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from serving.core.principal import Principal
from serving.store.errors import LeaseLost
from serving.store.jobs.queue import Job, Jobs
from serving.store.relational.database import Database

ALICE = Principal(tenant="acme", user="alice", key_id="key_a")
LEASE = 10.0


@dataclass
class Expected:
    """What the model knows of one job."""

    group: str | None
    max_attempts: int
    status: str = "queued"
    attempts: int = 0
    run_after: float = 0.0
    lease_until: float = 0.0
    cancelled: bool = False
    holder: str | None = None


class JobsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.time = 1000.0
        import serving.store.jobs.queue

        self.real_now = serving.store.jobs.queue.now
        serving.store.jobs.queue.now = lambda: self.time
        self.database = Database(f"sqlite:///{self.folder.name}/x.db")
        self.run(self.database.migrate())
        self.jobs = Jobs(self.database, backoff_s=1, backoff_cap_s=4)
        self.expected: dict[str, Expected] = {}
        self.held: list[Job] = []  # everything ever claimed, lost or not

    def run(self, work):
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        import serving.store.jobs.queue

        serving.store.jobs.queue.now = self.real_now
        self.run(self.database.close())
        self.loop.close()
        self.folder.cleanup()

    @rule(group=st.sampled_from([None, "a", "b"]), max_attempts=st.integers(1, 2))
    def enqueue(self, group: str | None, max_attempts: int) -> None:
        key = (group, "item") if group else None
        job = self.run(self.jobs.enqueue(ALICE, "work", {}, group=key, max_attempts=max_attempts))
        self.expected[job.id] = Expected(group, max_attempts, run_after=self.time)

    @rule(owner=st.sampled_from(["one", "two", "three"]))
    def claim(self, owner: str) -> None:
        want = self.next_claim()
        job = self.run(self.jobs.claim(["work"], owner, LEASE))
        assert (job.id if job else None) == want
        if job:
            e = self.expected[job.id]
            e.status, e.attempts, e.lease_until = "running", e.attempts + 1, self.time + LEASE
            e.holder = job.lease_owner
            self.held.append(job)

    def next_claim(self) -> str | None:
        """Walks the queue in order as `claim` says, ending what may not run again."""
        blocked: set[str] = set()
        for id, e in self.expected.items():
            if e.status not in ("queued", "running") or e.group in blocked:
                continue
            if e.status == "running" and e.lease_until <= self.time:
                if e.cancelled:
                    e.status = "cancelled"
                elif e.attempts >= e.max_attempts:
                    e.status = "failed"
                else:
                    return id
            elif e.status == "queued" and e.run_after <= self.time:
                return id
            elif e.group:
                blocked.add(e.group)
        return None

    def holds(self, job: Job) -> bool:
        e = self.expected[job.id]
        return e.status == "running" and e.holder == job.lease_owner

    @rule(data=st.data(), action=st.sampled_from(["heartbeat", "complete", "fail", "fatal", "release"]))
    def act(self, data: st.DataObject, action: str) -> None:
        if not self.held:
            return
        job = data.draw(st.sampled_from(self.held))
        e, holds = self.expected[job.id], self.holds(job)
        calls = {
            "heartbeat": lambda: self.jobs.heartbeat(job, LEASE),
            "complete": lambda: self.jobs.complete(job),
            "fail": lambda: self.jobs.fail(job, "x"),
            "fatal": lambda: self.jobs.fail(job, "x", retryable=False),
            "release": lambda: self.jobs.release(job),
        }
        allowed = holds and not (action == "heartbeat" and e.cancelled)
        try:
            self.run(calls[action]())
        except LeaseLost:
            assert not allowed
            return
        assert allowed
        if action == "heartbeat":
            e.lease_until = self.time + LEASE
        elif action == "complete":
            e.status = "succeeded"
        elif e.cancelled:
            e.status = "cancelled"
        elif action == "release":
            e.status, e.attempts, e.run_after, e.holder = "queued", e.attempts - 1, self.time, None
        elif action == "fatal" or e.attempts >= e.max_attempts:
            e.status = "failed"
        else:
            e.status, e.run_after = "queued", self.time + min(4, 2 ** (e.attempts - 1))

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if not self.expected:
            return
        id = data.draw(st.sampled_from(list(self.expected)))
        self.run(self.jobs.cancel(ALICE, id))
        e = self.expected[id]
        if e.status == "queued":
            e.status = "cancelled"
        elif e.status == "running":
            e.cancelled = True

    @rule(seconds=st.sampled_from([1.0, 5.0, 11.0]))
    def pass_time(self, seconds: float) -> None:
        self.time += seconds

    @invariant()
    def table_is_as_expected(self) -> None:
        found = self.run(self.jobs.list(ALICE, limit=100)).items
        assert {j.id: (j.status, j.attempts) for j in found} == {
            id: (e.status, e.attempts) for id, e in self.expected.items()
        }


TestJobsModel = JobsMachine.TestCase
TestJobsModel.settings = settings(
    max_examples=25, derandomize=True, stateful_step_count=25, suppress_health_check=list(HealthCheck)
)
