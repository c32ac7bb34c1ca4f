"""Names, addresses and folders of the cluster."""

from infra.targets.layout import CHECKOUT
from tools.machines.machine import Machine

FOLDER = CHECKOUT / ".headrace/cluster"
KUBECONFIG = FOLDER / "kubeconfig"
BIN = FOLDER / "bin"
IMAGES = FOLDER / "images"
VOLUMES = FOLDER / "volumes"

CONTROL_PLANE = Machine("cp1", "10.251.0.11")
WORKER = Machine("w1", "10.251.0.21")
PODS = "10.245.0.0/16"
SERVICES = "10.97.0.0/16"

# Where the machines see the host's folders.
IMAGES_INSIDE = "/mnt/images"
VOLUMES_INSIDE = "/mnt/volumes"
