"""Nodes as the clouds would make them, and what kube-scheduler does with a stack's pods on them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.config import StackConfig
from infra.gpu import placement
from infra.nodes.accelerators import accelerator_by_key
from tests.scheduling.control_plane import PODS, ControlPlane
from tests.scheduling.pods import Pod

Object = dict[str, Any]

NODES = "/api/v1/nodes"


@dataclass(frozen=True)
class NodeGroup:
    """Nodes that are alike, of which the cloud runs `least` at first and `most` at last."""

    name: str
    least: int
    most: int
    labels: Mapping[str, str]
    taints: Sequence[Object]
    allocatable: Mapping[str, str]

    def node(self, number: int) -> Object:
        name = f"{self.name}-{number}"
        labels = {**self.labels, "kubernetes.io/hostname": name}
        status = {"capacity": self.allocatable, "allocatable": self.allocatable}
        return {
            "metadata": {"name": name, "labels": labels},
            "spec": {"taints": list(self.taints)},
            "status": status,
        }

    def admits(self, spec: Mapping[str, Any]) -> bool:
        """Whether a DaemonSet would make a pod on each node."""
        wanted = spec.get("nodeSelector", {})
        tolerations = spec.get("tolerations", ())
        return all(self.labels.get(key) == value for key, value in wanted.items()) and all(
            any(_tolerates(one, taint) for one in tolerations)
            for taint in self.taints
            if taint["effect"] != "PreferNoSchedule"
        )


def _tolerates(toleration: Mapping[str, str], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key", taint["key"]) == taint["key"]
    return (toleration["key"], toleration.get("value", "")) == (taint["key"], taint.get("value", ""))


def node_groups(config: StackConfig) -> list[NodeGroup]:
    """The nodes of a placed configuration, with the labels and taints that clouds and feature discovery give them."""
    rules = placement.NODE_POOL_RULES[config.target]
    assert rules.cloud is not None
    cloud = placement.cloud_rules(rules.cloud)
    scales = rules.scales(getattr(config, config.target))
    found = []
    for pool in config.node_pools:
        machine = pool.machine(rules.cloud)
        assert machine is not None
        offered = cloud.allocatable(machine, pool.disk_gib)
        allocatable = {
            "cpu": f"{offered.cpu}m",
            "memory": str(offered.memory),
            "ephemeral-storage": str(offered.storage),
            # The daemons of the cloud are one pod here.
            "pods": str(offered.pods - cloud.NODE_PODS.pods + 1),
        }
        labels = {
            **pool.node_labels,
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": machine.name,
        }
        if len(pool.zones) == 1:
            labels["topology.kubernetes.io/zone"] = pool.zones[0]
        if pool.gpus:
            gpu = accelerator_by_key(pool.accelerator)
            assert gpu is not None
            allocatable["nvidia.com/gpu"] = str(placement.gpus_per_node(pool))
            labels |= {"headrace.test/gpus": "true", "nvidia.com/gpu.product": gpu.product}
        taints = [taint.model_dump() for taint in rules.taints(pool)]
        most = pool.max_nodes if scales else pool.min_nodes
        found.append(NodeGroup(pool.name, pool.min_nodes, most, labels, taints, allocatable))
    return found


class Cluster:
    """The nodes of one stack, which grow as long as that lets a pod run."""

    def __init__(self, control_plane: ControlPlane, groups: Sequence[NodeGroup], daemons: Sequence[Pod]) -> None:
        self._api = control_plane
        self._groups = groups
        self._daemons = daemons
        self._sizes = dict.fromkeys((group.name for group in groups), 0)
        for group in groups:
            for _ in range(group.least):
                self._add(group)

    def _add(self, group: NodeGroup) -> None:
        number = self._sizes[group.name]
        self._sizes[group.name] += 1
        node = group.node(number)
        self._api.create(NODES, node)
        name = node["metadata"]["name"]
        self._api.create(
            PODS,
            *(
                _object(f"{name}-{daemon.name}", {**daemon.spec, "nodeName": name}, {})
                for daemon in self._daemons
                if group.admits(daemon.spec)
            ),
        )

    def _remove(self, group: NodeGroup) -> None:
        self._sizes[group.name] -= 1
        name = f"{group.name}-{self._sizes[group.name]}"
        self._api.delete(f"{NODES}/{name}", *(f"{PODS}/{name}-{daemon.name}" for daemon in self._daemons))

    def schedule(self, pods: Iterable[Pod], chance: random.Random) -> list[str]:
        """Makes the pods in their order, adds nodes while pods are Pending, and returns the pods that stay Pending.

        An autoscaler chooses among the pools that help by its own rules, which differ: here it is by chance.
        """
        objects = {pod.name: _object(pod.name, pod.spec, pod.labels) for pod in pods}
        self._api.create(PODS, *objects.values())
        pending = self._pending()
        untried = list(self._groups)
        while pending and untried:
            group = untried.pop(chance.randrange(len(untried)))
            if self._sizes[group.name] == group.most:
                continue
            self._add(group)
            # New objects are tried at once: the scheduler has a pause for those that it has tried.
            self._api.delete(*(f"{PODS}/{name}" for name in pending))
            self._api.create(PODS, *(objects[name] for name in objects if name in pending))
            left = self._pending()
            if len(left) < len(pending):
                untried = list(self._groups)
            else:
                self._remove(group)
            pending = left
        return sorted(pending)

    def _pending(self) -> set[str]:
        return {pod["metadata"]["name"] for pod in self._api.unscheduled()}

    def clear(self) -> None:
        """Deletes all pods and nodes."""
        self._api.delete(PODS, NODES)


def _object(name: str, spec: Mapping[str, Any], labels: Mapping[str, str]) -> Object:
    return {"metadata": {"name": name, "labels": dict(labels)}, "spec": dict(spec)}
