"""When a cluster is asked about its images: before an `up`, once nothing else is wrong, and never in a preview."""

from __future__ import annotations

import pulumi
import pytest

from infra.cluster_config import MOUNTED_SECRETS
from infra.config_loader import LoadedConfig, load
from infra.mistakes import Mistake
from infra.targets import cluster_preflight, image_check, kubeconfig

CHECK = Mistake("image", "the cluster cannot pull it", "push it")
OTHER = Mistake("kubernetes.namespace", "it is somebody else's", "use another one")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> LoadedConfig:
    monkeypatch.setattr(kubeconfig.chart, "mistakes", lambda config, root: [])
    monkeypatch.setattr(cluster_preflight, "missing_charts", lambda config: [])
    monkeypatch.setattr(cluster_preflight, "mistakes", lambda config, cluster, stack: [])
    monkeypatch.setattr(kubeconfig, "read_kubeconfig", lambda settings, content: None)
    monkeypatch.setattr(image_check, "mistakes", lambda config, cluster, stack: [CHECK])
    database = {"kind": "url", "url": "postgresql://u@db/d"}
    settings = {"target": "kubeconfig", "database": database, "image": {"tag": "1"}}
    return load(settings, frozenset(), MOUNTED_SECRETS)


@pytest.mark.parametrize(("preview", "found"), [(False, [CHECK]), (True, [])])
def test_a_preview_asks_nothing_about_images(
    loaded: LoadedConfig, monkeypatch: pytest.MonkeyPatch, preview: bool, found: list[Mistake]
) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: preview)
    assert loaded.mistakes == []
    assert kubeconfig.mistakes(loaded, "stack") == found


def test_no_image_is_asked_for_where_something_else_is_wrong(
    loaded: LoadedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: False)
    monkeypatch.setattr(cluster_preflight, "mistakes", lambda config, cluster, stack: [OTHER])
    assert kubeconfig.mistakes(loaded, "stack") == [OTHER]
