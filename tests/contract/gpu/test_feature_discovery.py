"""NVIDIA's GPU feature discovery and node feature discovery, unmodified, label nodes as the catalogue expects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from infra.config import StackConfig
from infra.nodes.accelerators import ACCELERATORS, MIB, Accelerator, Slice, accelerator_by_key, accelerator_by_product
from infra.programs import FEATURE_DISCOVERY
from tests.contract.gpu.conftest import Joins, pool_named
from tests.nvidia import stacks
from tests.nvidia.chart import Release
from tests.nvidia.gpus import H100, L4, MEDIA_1G, Gpu, catalogued, sliced
from tests.nvidia.node import FEATURES, OURS, Node

Labels = Mapping[str, str]

SLICED = [gpu for gpu in ACCELERATORS if any(each.memory_mib for each in gpu.mig)]

# The programs need minutes of processor time to be built, as Kubernetes' client is part of them.
pytestmark = pytest.mark.soak


@pytest.fixture(scope="module", autouse=True)
def programs(gpu_node: Node) -> None:
    gpu_node.install(FEATURE_DISCOVERY)


@pytest.fixture
def labelled(gpu_node: Node) -> Callable[..., Labels]:
    """Returns the labels that GPU feature discovery gives the node."""

    def run(installed: Release, **more: str) -> Labels:
        once = {"GFD_ONESHOT": "true", "GFD_NO_TIMESTAMP": "true"}
        environment = {**installed.environment("gpu-feature-discovery-ctr"), **once, **more}
        gpu_node.run("gpu-feature-discovery", environment=environment)
        lines = gpu_node.path(FEATURES, "gfd").read_text().splitlines()
        return {name.removeprefix("nvidia.com/"): value for name, _, value in (line.partition("=") for line in lines)}

    return run


def of(accelerator: Accelerator | None) -> tuple[str, str]:
    """Returns the labels of a whole GPU as the catalogue has them: product and memory."""
    assert accelerator
    return accelerator.product, str(accelerator.memory_bytes // MIB)


@pytest.mark.parametrize(
    ("config", "pool", "present", "expected"),
    [
        (
            stacks.AWS,
            "default",
            [L4] * 4,
            {"gpu.count": "4", "gpu.replicas": "1", "gpu.compute.major": "8", "gpu.compute.minor": "9"}
            | {"mig.capable": "false", "mps.capable": "false", "gpu.sharing-strategy": "none", "gpu.mode": "compute"},
        ),
        (
            stacks.AZURE,
            "whole",
            [H100] * 8,
            {"gpu.count": "8", "gpu.replicas": "1", "gpu.family": "hopper", "mig.capable": "true"}
            | {"mig.strategy": "single", "cuda.driver-version.full": "580.95.05", "cuda.runtime-version.full": "13.0"},
        ),
    ],
    ids=["l4", "h100"],
)
def test_a_whole_gpu_is_in_the_catalogue(
    config: StackConfig,
    pool: str,
    present: Sequence[Gpu],
    expected: Labels,
    joins: Joins,
    labelled: Callable[..., Labels],
) -> None:
    found = labelled(joins(config, pool, present))
    assert expected.items() <= found.items()
    assert (found["gpu.product"], found["gpu.memory"]) == of(accelerator_by_product(found["gpu.product"]))


@pytest.mark.parametrize(("pool", "strategy"), [("sliced", "time-slicing"), ("mps", "mps")])
def test_a_shared_gpu_has_no_memory_of_its_own(
    pool: str, strategy: str, joins: Joins, labelled: Callable[..., Labels]
) -> None:
    installed = joins(stacks.AWS, pool, [L4] * 4)
    found = labelled(installed)
    assert (found["gpu.product"], found["gpu.replicas"]) == ("NVIDIA-L4-SHARED", "4")
    assert found["gpu.sharing-strategy"] == strategy
    assert accelerator_by_product(found["gpu.product"]) is None
    # By this label, MPS' daemon runs on the node.
    [wanted] = installed.pods["mps-control-daemon"]["nodeSelector"].items()
    assert (found[wanted[0].removeprefix("nvidia.com/")] == wanted[1]) == (pool == "mps")


@pytest.mark.parametrize(("profile", "written"), [(None, "1g.10gb"), (MEDIA_1G, "1g.10gb.me")])
def test_a_slice_is_in_the_catalogue(
    profile: int | None, written: str, joins: Joins, labelled: Callable[..., Labels]
) -> None:
    known = accelerator_by_key("a100-80gb-pcie")
    assert known
    [one] = [each for each in known.mig if each.profile == "1g.10gb"]
    present = sliced(catalogued(known.key), *[one] * (7 if profile is None else 1), profile=profile)
    found = labelled(joins(stacks.AZURE, "slices", [present]))
    assert found["gpu.product"] == f"{known.product}-MIG-{written}"
    assert found["gpu.count"] == str(len(present.slices))
    slice_of = accelerator_by_product(found["gpu.product"])
    assert slice_of
    assert (slice_of.key, str(slice_of.memory_bytes // MIB)) == (known.key, found["gpu.memory"])


@pytest.mark.parametrize("gpu", SLICED, ids=lambda gpu: gpu.key)
def test_profiles_are_named_as_in_the_catalogue(
    gpu: Accelerator, joins: Joins, labelled: Callable[..., Labels]
) -> None:
    """NVIDIA computes the name of a profile from the memory of slice and GPU."""
    known = [each for each in gpu.mig if each.memory_mib]
    found = labelled(joins(stacks.ONPREM, "gpu", [sliced(catalogued(gpu.key), *known)]), MIG_STRATEGY="mixed")
    for each in known:
        resource = f"mig-{each.profile}"
        assert found[f"{resource}.product"] == f"{gpu.product}-MIG-{each.profile}"
        assert found[f"{resource}.memory"] == str(each.memory_mib)


def test_a_node_that_is_sliced_unevenly_says_so(joins: Joins, labelled: Callable[..., Labels]) -> None:
    """With the strategy that the add-on sets, it offers nothing; no pool of pods selects its label."""
    uneven = sliced(H100, Slice("1g.10gb", 7, 9_984), Slice("2g.20gb", 3, 20_096))
    found = labelled(joins(stacks.AZURE, "slices", [uneven]))
    assert (found["gpu.product"], found["gpu.count"]) == ("NVIDIA-H100-80GB-HBM3-MIG-INVALID", "0")
    assert accelerator_by_product(found["gpu.product"]) is None


def test_node_feature_discovery_publishes_the_labels_that_select_the_plugins_nodes(
    gpu_node: Node, joins: Joins, labelled: Callable[..., Labels]
) -> None:
    installed = joins(stacks.AWS, "default", [L4])
    labelled(installed)
    gpu_node.path(OURS, "nfd-worker.conf").write_text(installed.discovery)
    flags = ("-oneshot", "-metrics=0", "-grpc-health=0", "-no-owner-refs", f"-config=/{OURS}/nfd-worker.conf")
    environment = {"NODE_NAME": "node-1", "KUBERNETES_NAMESPACE": "gpu-operator"}
    gpu_node.run("nfd-worker", *flags, f"-kubeconfig=/{OURS}/kubeconfig", environment=environment)
    published = gpu_node.api.features["spec"]["labels"]
    assert published["nvidia.com/gpu.product"] == "NVIDIA-L4"
    for name in ("nvidia-device-plugin", "gpu-feature-discovery", "mps-control-daemon"):
        affinity = installed.pods[name]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert any(
            all(published.get(wanted["key"]) in wanted["values"] for wanted in term["matchExpressions"])
            for term in affinity["nodeSelectorTerms"]
        )


@pytest.mark.parametrize("pool", ["default", "sliced", "mps"])
def test_config_manager_chooses_as_the_node_of_these_tests_does(
    pool: str, gpu_node: Node, released: Callable[[StackConfig], Release]
) -> None:
    installed = released(stacks.AWS)
    environment = installed.environment("nvidia-device-plugin-init")
    gpu_node.api.labels = pool_named(stacks.AWS, pool).node_labels
    expected = gpu_node.configure(installed.configs, environment)
    chosen = gpu_node.path(environment["CONFIG_FILE_DST"].lstrip("/"))
    chosen.unlink()
    gpu_node.run("config-manager", environment=environment)
    assert str(chosen.readlink()) == f"{environment['CONFIG_FILE_SRCDIR']}/{expected}"
    chosen.unlink()
