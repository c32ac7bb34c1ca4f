"""Names, addresses and folders of the test cluster."""

from infra.layout import CHECKOUT
from tools.machines.machine import Machine, Mount

FOLDER = CHECKOUT / ".headrace/cluster"
KUBECONFIG = FOLDER / "kubeconfig"
BIN = FOLDER / "bin"
IMAGES = FOLDER / "images"
VOLUMES = FOLDER / "volumes"
BEFORE = FOLDER / "before.json"
"""What was there before the cluster, which tests record and compare."""
STACK = FOLDER / "stack"
"""The Pulumi stack of the machines and their cluster."""

# Where the machines see the host's folders.
IMAGES_INSIDE = "/mnt/images"
VOLUMES_INSIDE = "/mnt/volumes"

_MOUNTS = (Mount(str(IMAGES), IMAGES_INSIDE, read_only=True), Mount(str(VOLUMES), VOLUMES_INSIDE))

CONTROL_PLANE = Machine("cp1", "10.251.0.11", _MOUNTS)
WORKERS = (Machine("w1", "10.251.0.21", _MOUNTS), Machine("w2", "10.251.0.22", _MOUNTS))
NODES = (CONTROL_PLANE, *WORKERS)
ZONES = {"cp1": "a", "w1": "a", "w2": "b"}
POOL = "workers"
PODS = "10.245.0.0/16"
SERVICES = "10.97.0.0/16"
LOCAL_VOLUMES = "/var/lib/headrace-volumes"
"""The folder on each worker for the storage class that the on-prem target creates."""
