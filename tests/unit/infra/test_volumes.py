"""Claims that no volume of machines of your own would ever satisfy are refused before anything is made."""

from __future__ import annotations

from typing import Any

import pytest

from infra.config import StackConfig
from infra.volumes import mistakes

HOSTS = [{"name": "cp1", "address": "192.0.2.11", "role": "control_plane"}]


def mistake_messages(storage: dict[str, Any], target: str = "onprem", **more: Any) -> list[str]:
    given = {"data": {"access_mode": "ReadWriteOnce"}, **more}
    config = {"target": target, "onprem": {"hosts": HOSTS, "storage": storage}, **given}
    return [str(mistake) for mistake in mistakes(StackConfig.model_validate(config))]


def test_the_defaults_fit() -> None:
    assert mistake_messages({"kind": "local"}) == []


@pytest.mark.parametrize(
    ("storage", "more", "expected"),
    [
        ({}, {}, "headrace:onprem.storage.kind: is none, but Ray's control state, data, the database, Prometheus need"),
        ({"kind": "local"}, {"data": {}}, "headrace:data.access_mode: is ReadWriteMany, but each volume"),
        (
            {"kind": "local", "size": "15Gi"},
            {},
            "headrace:onprem.storage.size: 15Gi is less than the 20Gi of data; raise it, or lower data.storage",
        ),
        (
            {"kind": "local", "size": "2G"},
            {"data": {"uri": "s3://b/p"}, "database": {"kind": "url", "url": "x"}, "addons": {"monitoring": "off"}},
            "headrace:onprem.storage.size: 2G is less than the 2Gi of Ray's control state; raise it to at least 2Gi",
        ),
    ],
)
def test_unsatisfiable_claims_are_mistakes(storage: dict[str, Any], more: dict[str, Any], expected: str) -> None:
    [only] = mistake_messages(storage, **more)
    assert only.startswith(expected)


def test_claims_with_a_storage_class_are_not_checked() -> None:
    assert mistake_messages({}, kubernetes={"storage_class": "nfs"}, data={}) == []
    assert mistake_messages({"kind": "local", "size": "12Gi"}, data={"storage_class": "nfs"}) == []


def test_other_targets_bring_their_own_volumes() -> None:
    assert mistake_messages({}, target="kubeconfig", data={}) == []


def test_weights_that_pods_share_need_a_shared_volume() -> None:
    pool = {"name": "serving", "weights": {"kind": "claim", "size": "5Gi"}}
    [only] = mistake_messages({"kind": "local"}, pools=[pool])
    assert only.startswith("headrace:pools[0].weights.access_mode: is ReadWriteMany, but each volume")
    assert only.endswith("or use kind: node")
    for weights in ({**pool["weights"], "storage_class": "nfs"}, {"kind": "node"}, {"kind": "ephemeral"}):
        assert mistake_messages({"kind": "local"}, pools=[{**pool, "weights": weights}]) == []
    [only] = mistake_messages({"kind": "local"}, pools=[{**pool, "weights": {"kind": "ephemeral", "size": "1Ti"}}])
    assert "is less than the 1Ti of the weights of pool 'serving'; raise it, or lower pools[0].weights.size" in only
