"""The clouds' machine types."""

from __future__ import annotations

import pytest

from infra.nodes.accelerators import accelerator_by_key
from infra.nodes.machines import (
    CLOUDS,
    Cloud,
    MachineType,
    default_machine_type,
    machine_type,
    machine_types,
    smallest_machine_type,
)

MACHINES = [machine for cloud in CLOUDS for machine in machine_types(cloud)]


def test_machines_lie_in_the_folder_of_their_cloud() -> None:
    assert [m.name for cloud in CLOUDS for m in machine_types(cloud) if m.cloud != cloud] == []


def test_machine_names_are_unique() -> None:
    names = [(m.cloud, m.name) for m in MACHINES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("found", MACHINES, ids=lambda m: m.name)
def test_machines_have_plausible_sizes_and_known_gpus(found: MachineType) -> None:
    assert found.vcpus > 0 < found.memory_gib
    assert bool(found.accelerator) == bool(found.gpus)
    if found.gpus:
        gpu = accelerator_by_key(found.accelerator)
        assert gpu
        assert gpu.gke or found.cloud != "gcp"
        assert not found.gpus & (found.gpus - 1)


def test_each_cloud_has_machines_with_and_without_gpus() -> None:
    for cloud in CLOUDS:
        default = machine_type(cloud, default_machine_type(cloud))
        assert default
        assert not default.gpus
        assert any(m.gpus for m in machine_types(cloud))


@pytest.mark.parametrize(
    ("cloud", "accelerator", "gpus", "name"),
    [
        ("aws", "l4", 1, "g6.xlarge"),
        ("aws", "h100-80gb", 8, "p5.48xlarge"),
        ("gcp", "l4", 2, "g2-standard-24"),
        ("gcp", "t4", 2, "n1-standard-4"),
        ("gcp", "h100-mega-80gb", 8, "a3-megagpu-8g"),
        ("azure", "h100-nvl", 1, "Standard_NC40ads_H100_v5"),
        ("azure", "t4", 4, "Standard_NC64as_T4_v3"),
    ],
)
def test_the_smallest_machine_with_the_gpus_is_chosen(cloud: Cloud, accelerator: str, gpus: int, name: str) -> None:
    found = smallest_machine_type(cloud, accelerator, gpus)
    assert found
    assert found.name == name


@pytest.mark.parametrize(
    ("cloud", "accelerator", "gpus"), [("aws", "l4", 2), ("gcp", "t4", 3), ("gcp", "t4", 8), ("azure", "l4", 1)]
)
def test_no_machine_is_found_for_unavailable_gpus(cloud: Cloud, accelerator: str, gpus: int) -> None:
    assert smallest_machine_type(cloud, accelerator, gpus) is None


def test_a_name_belongs_to_its_cloud() -> None:
    assert machine_type("gcp", "g6.xlarge") is None
