"""A storage class of folders on the nodes: static volumes, each on one node, bound when a pod comes."""

from __future__ import annotations

import json
from typing import Any

CLASS = "headrace-local"
NODE = "headrace.io/node"
"""Label of a volume: the node that it is on."""

Document = dict[str, Any]


def storage_class(*, default: bool) -> str:
    """https://kubernetes.io/docs/concepts/storage/storage-classes/#local"""
    return json.dumps(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": CLASS,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true" if default else "false"},
            },
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    )


def volumes(node: str, wanted: Document) -> str:
    """A node's volumes. What a pod wrote stays when its claim goes: the operator empties and frees the volume."""
    items = [_volume(node, number, wanted) for number in range(wanted["count"])]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def volume_folder(wanted: Document, number: int) -> str:
    """Where a volume lies on its node."""
    return f"{wanted['path']}/{number:02}"


def _volume(node: str, number: int, wanted: Document) -> Document:
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{CLASS}-{node}-{number:02}", "labels": {NODE: node}},
        "spec": {
            "storageClassName": CLASS,
            "capacity": {"storage": wanted["size"]},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            # Not a hostPath: a volume of this kind gets the group of the pod that uses it.
            "local": {"path": volume_folder(wanted, number)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }
