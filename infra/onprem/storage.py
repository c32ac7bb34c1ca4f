"""The storage class of local volumes: static volumes in folders of nodes, bound when a pod is scheduled."""

from __future__ import annotations

import json
from typing import Any

CLASS = "headrace-local"
NODE = "headrace.io/node"
"""Label of a volume with the name of its node."""

Document = dict[str, Any]


def storage_class(*, default: bool) -> str:
    """Returns the storage class. https://kubernetes.io/docs/concepts/storage/storage-classes/#local"""
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
    """Returns a node's volumes. Data stays when a claim is deleted: the operator must empty and release the volume."""
    items = [_volume(node, number, wanted) for number in range(wanted["count"])]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def volume_folder(wanted: Document, number: int) -> str:
    """Returns the path of a volume on its node."""
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
            # Unlike a hostPath, a local volume gets the group of the pod that uses it.
            "local": {"path": volume_folder(wanted, number)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }
