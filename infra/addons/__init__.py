"""Platform add-ons, one per file: each is optional, pinned in `infra.versions`, and may already be installed."""

from infra.addons.addon import Addon
from infra.addons.certificates import CERTIFICATES
from infra.addons.dcgm import DCGM
from infra.addons.gateway import GATEWAY
from infra.addons.gpu import GPU
from infra.addons.kserve import KSERVE
from infra.addons.kuberay import KUBERAY
from infra.addons.monitoring import MONITORING
from infra.addons.postgres import POSTGRES

ADDONS: tuple[Addon, ...] = (GATEWAY, CERTIFICATES, KUBERAY, MONITORING, GPU, DCGM, POSTGRES, KSERVE)
"""In the order in which they are installed."""
