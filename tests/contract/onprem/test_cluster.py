"""How a control plane is reached, over SSH."""

from __future__ import annotations

from typing import Any

import pytest

from infra.onprem.cluster import connect_control_plane
from infra.resources.problem import Problem
from infra.resources.resource import Task


def test_absence_of_a_cluster_requires_all_hosts_to_answer(server: Any, closed_port: int) -> None:
    """A second cluster must not be made beside one whose control planes do not answer."""
    here = server.address
    with connect_control_plane([here], Task(server.said.append)) as found:
        assert found is None
    with connect_control_plane([], Task(server.said.append)) as found:
        assert found is None
    gone = server.remote(name="cp2", port=closed_port).address
    with (
        pytest.raises(Problem, match=r"no control plane answers:\n    cp2: "),
        connect_control_plane([here, gone], Task(print), 0),
    ):
        pass


def test_a_control_plane_that_restarts_is_waited_for(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine answers before its API server does."""
    answers = iter([False, True])
    monkeypatch.setattr("infra.onprem.cluster.is_api_ready", lambda host: next(answers))
    monkeypatch.setattr("infra.onprem.cluster.is_member", lambda host: True)
    said: list[str] = []
    with connect_control_plane([server.address], Task(said.append)) as found:
        assert found
    assert "its API server does not answer" in said[0]
