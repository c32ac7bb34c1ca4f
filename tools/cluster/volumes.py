"""Volumes shared by all nodes, as from a file server: a folder of the host that is mounted into the machines.

They are static: `renew` replaces a released volume by an empty one.
"""

import json
import shutil
from collections.abc import Callable
from typing import Any

from tools.cluster.layout import VOLUMES, VOLUMES_INSIDE

CLASS = "shared"
COUNT = 16
SIZE = "50Gi"
_DEFAULT = "storageclass.kubernetes.io/is-default-class"
_LET_GO = ("Released", "Failed")

Kubectl = Callable[..., str]


def renew(kubectl: Kubectl, *, default: bool = True) -> None:
    """Creates the storage class, optionally as the default, and every volume that is missing or released."""
    _apply(kubectl, [_storage_class(default)])
    there = {volume["metadata"]["name"]: volume for volume in json.loads(kubectl("get", "pv", "-o", "json"))["items"]}
    used = [name for name in _names() if name in there and there[name]["status"].get("phase") in _LET_GO]
    if used:
        kubectl("delete", "pv", "--wait", *used)
    new = [name for name in _names() if name in used or name not in there]
    for name in new:
        shutil.rmtree(VOLUMES / name, ignore_errors=True)
        (VOLUMES / name).mkdir(parents=True)
        (VOLUMES / name).chmod(0o777)  # as on a file server, any pod's user may write
    if new:
        _apply(kubectl, [_volume(name) for name in new])


def _names() -> list[str]:
    return [f"{CLASS}-{number:02}" for number in range(COUNT)]


def _storage_class(default: bool) -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {_DEFAULT: "true" if default else "false"}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "Immediate",
    }


def _volume(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "storageClassName": CLASS,
            "capacity": {"storage": SIZE},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": f"{VOLUMES_INSIDE}/{name}", "type": "Directory"},
        },
    }


def _apply(kubectl: Kubectl, objects: list[dict[str, Any]]) -> None:
    kubectl("apply", "--filename=-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
