"""When a cluster and others are asked about images and models: once nothing else is wrong; a preview makes no pods."""

from __future__ import annotations

from dataclasses import replace

import pulumi
import pytest

from infra.cluster_config import MOUNTED_SECRETS
from infra.config_loader import LoadedConfig, load
from infra.mistakes import Mistake
from infra.resources.inquiry import Check
from infra.targets import capacity_check, cluster_preflight, image_check, kubeconfig, provisioning, source_check

CHECK = Mistake("image", "the cluster cannot pull it", "push it")
OTHER = Mistake("kubernetes.namespace", "it is somebody else's", "use another one")


def found(mistake: Mistake) -> Check:
    """Asks nobody, and finds a mistake."""
    return Check({}, lambda answers: [mistake])


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> LoadedConfig:
    monkeypatch.setattr(kubeconfig.chart, "mistakes", lambda config, root: [])
    monkeypatch.setattr(cluster_preflight, "missing_charts", lambda config: [])
    monkeypatch.setattr(cluster_preflight, "mistakes", lambda config, cluster, stack: [])
    monkeypatch.setattr(kubeconfig, "read_kubeconfig", lambda settings, content: None)
    monkeypatch.setattr(image_check, "mistakes", lambda config, cluster, stack: [CHECK])
    monkeypatch.setattr(source_check, "checks", lambda config, secrets: [])
    database = {"kind": "url", "url": "postgresql://u@db/d"}
    settings = {"target": "kubeconfig", "database": database, "image": {"tag": "1"}}
    return load(settings, frozenset(), MOUNTED_SECRETS)


@pytest.mark.parametrize(("preview", "expected"), [(False, [CHECK]), (True, [])])
def test_a_preview_makes_no_pods_for_images(
    loaded: LoadedConfig, monkeypatch: pytest.MonkeyPatch, preview: bool, expected: list[Mistake]
) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: preview)
    assert loaded.mistakes == []
    assert kubeconfig.mistakes(loaded, "stack") == expected


def test_no_image_is_asked_for_where_something_else_is_wrong(
    loaded: LoadedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: False)
    monkeypatch.setattr(cluster_preflight, "mistakes", lambda config, cluster, stack: [OTHER])
    assert kubeconfig.mistakes(loaded, "stack") == [OTHER]


@pytest.mark.parametrize("preview", [True, False])
def test_models_and_images_are_asked_for_on_every_target(
    loaded: LoadedConfig, monkeypatch: pytest.MonkeyPatch, preview: bool
) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: preview)
    monkeypatch.setattr(source_check, "checks", lambda config, secrets: [found(OTHER)])
    assert kubeconfig.mistakes(loaded, "stack") == [OTHER], "and not the cluster"
    for target in ("aws", "onprem"):
        made = replace(loaded, config=loaded.config.model_copy(update={"target": target}))
        monkeypatch.setattr(capacity_check, "checks", lambda config, stack: [])
        assert provisioning.mistakes(made, "stack") == [OTHER]
        skipped = made.config.kubernetes.model_copy(update={"preflight": False})
        made = replace(made, config=made.config.model_copy(update={"kubernetes": skipped}))
        assert provisioning.mistakes(made, "stack") == []


@pytest.mark.parametrize("preview", [True, False])
def test_a_cloud_is_asked_once_nothing_else_is_wrong(
    loaded: LoadedConfig, monkeypatch: pytest.MonkeyPatch, preview: bool
) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: preview)
    monkeypatch.setattr(capacity_check, "checks", lambda config, stack: [found(CHECK)])
    made = replace(loaded, config=loaded.config.model_copy(update={"target": "aws"}))
    assert provisioning.mistakes(made, "stack") == [CHECK]
    skipped = made.config.kubernetes.model_copy(update={"preflight": False})
    unasked = replace(made, config=made.config.model_copy(update={"kubernetes": skipped}))
    assert provisioning.mistakes(unasked, "stack") == []
    monkeypatch.setattr(source_check, "checks", lambda config, secrets: [found(OTHER)])
    assert provisioning.mistakes(made, "stack") == [OTHER, CHECK], "all are asked at once"
