"""Names of images and machines."""

import pytest

from tools.cluster import image_loader, images
from tools.machines.machine import Machine
from tools.report import ToolError

LISTED = [
    "registry.k8s.io/kube-apiserver:v1.37.2",
    "registry.k8s.io/kube-controller-manager:v1.37.2",
    "registry.k8s.io/kube-scheduler:v1.37.2",
    "registry.k8s.io/kube-proxy:v1.37.2",
    "registry.k8s.io/coredns/coredns:v1.15.0",
    "registry.k8s.io/pause:3.10",
    "registry.k8s.io/etcd:3.6.0-0",
]


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("busybox:1", "docker.io/library/busybox:1"),
        ("headrace/serving:1", "docker.io/headrace/serving:1"),
        ("quay.io/kuberay/operator:v1.5.0", "quay.io/kuberay/operator:v1.5.0"),
        ("localhost/app:1", "localhost/app:1"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("registry:5000/team/app:1", "registry:5000/team/app:1"),
    ],
)
def test_a_name_is_looked_up_with_its_registry(name: str, full: str) -> None:
    assert image_loader.full_image_name(name) == full


def test_every_component_is_the_api_servers_image_and_nothing_else_is() -> None:
    aliases = images.component_aliases(LISTED)
    assert set(aliases) == {*LISTED[1:4], LISTED[6]}
    assert set(aliases.values()) == {LISTED[0]}


def test_a_component_is_found_by_its_whole_name() -> None:
    assert images.component_image(LISTED, "coredns") == "registry.k8s.io/coredns/coredns:v1.15.0"
    with pytest.raises(ValueError, match="unpack"):
        images.component_image(LISTED, "proxy")


@pytest.mark.parametrize("name", ["a", "Upper", "a_b", "-a", "a-", "1a", "sixteen-letters-", "../up"])
def test_machine_names_are_valid_link_names(name: str) -> None:
    with pytest.raises(ToolError, match="not a valid machine name"):
        Machine(name, "10.251.0.40")
