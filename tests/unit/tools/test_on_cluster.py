"""The cluster of a stack that makes it is known by its output, and by nothing before that."""

from __future__ import annotations

from typing import Any, cast

import pytest
import yaml

from tests.plan.examples import KUBECONFIG, MADE, stack_settings
from tools.on_cluster import OnCluster
from tools.workspace import Workspace


class Stack:
    """A workspace, as far as it is asked."""

    def __init__(self, settings: dict[str, Any], **outputs: str) -> None:
        self._settings, self._outputs = settings, outputs

    def settings(self) -> dict[str, Any]:
        return self._settings

    def outputs(self) -> dict[str, str]:
        return self._outputs


@pytest.mark.parametrize("example", MADE, ids=lambda p: p.stem.removeprefix("Pulumi."))
def test_it_is_there_once_it_was_made(example: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    mine = tmp_path / "kubeconfig"  # of another cluster, which must not be taken for it
    mine.write_text(yaml.safe_dump({**KUBECONFIG, "clusters": [{"name": "c", "cluster": {"server": "https://mine"}}]}))
    monkeypatch.setenv("KUBECONFIG", str(mine))
    settings = stack_settings(example)
    assert OnCluster.of(cast(Workspace, Stack(settings))) is None
    there = OnCluster.of(cast(Workspace, Stack(settings, kubeconfig=yaml.safe_dump(KUBECONFIG))))
    assert there is not None
    assert there.cluster.server == "https://cluster.invalid:6443"
