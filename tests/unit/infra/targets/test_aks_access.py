"""The wait for the role of a new cluster's administrator."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest

from infra.kubernetes.cluster import ClusterContext, ClusterRefused, ClusterUnusable
from infra.mistakes import Mistake
from infra.targets.azure import access
from tests.rendering.examples import KUBECONFIG


class Cluster:
    """Answers whether its user may create namespaces; an exception is raised."""

    def __init__(self, answers: list[bool | Exception]) -> None:
        self._answers = answers

    def may_create(self, group: str, kind: str) -> bool:
        assert (group, kind) == ("", "namespaces")
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits without waiting; returns the seconds."""
    waited: list[float] = []
    monkeypatch.setattr(access.shutil, "which", lambda program: f"/usr/bin/{program}")
    # Only for this module: what else this process runs goes on to wait as it does.
    clock = {"sleep": waited.append, "monotonic": lambda: sum(waited)}
    monkeypatch.setattr(access, "time", SimpleNamespace(**vars(time) | clock))
    monkeypatch.setattr(pulumi.log, "info", lambda *_: None)
    return waited


def answer(monkeypatch: pytest.MonkeyPatch, *answers: bool | Exception) -> None:
    cluster = Cluster(list(answers))

    @contextmanager
    def connect(context: ClusterContext) -> Iterator[Any]:
        assert context.server == "https://cluster.invalid:6443"
        yield cluster

    monkeypatch.setattr(access, "connect", connect)


UNREACHABLE = ClusterUnusable(Mistake("k", "the cluster cannot be reached: timed out", "check the network"))
REFUSED = ClusterRefused(Mistake("k", "the cluster does not allow its user to create namespaces", "grant it"))


def test_refusals_are_waited_out(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, False, REFUSED, True)
    access.wait_until_allowed(json.dumps(KUBECONFIG))
    assert waits == [access.POLL_S] * 2


def test_a_refusal_that_stays_names_the_role(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, *[False] * 100)
    with pytest.raises(pulumi.RunError, match="RBAC Cluster Admin was assigned; run `up` again later"):
        access.wait_until_allowed(json.dumps(KUBECONFIG))
    assert sum(waits) > access.WAIT_S


def test_a_cluster_that_cannot_be_reached_is_not_waited_for(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, UNREACHABLE)
    with pytest.raises(pulumi.RunError, match="cannot be reached: timed out; check the network"):
        access.wait_until_allowed(json.dumps(KUBECONFIG))
    assert waits == []


def test_a_missing_sign_in_program_is_reported_without_waiting(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access.shutil, "which", lambda program: None)
    with pytest.raises(pulumi.RunError, match="az aks install-cli"):
        access.wait_until_allowed(json.dumps(KUBECONFIG))
    assert waits == []
