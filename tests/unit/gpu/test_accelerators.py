"""What is known about GPUs, by the product that nodes are labelled with."""

from __future__ import annotations

import re

import pytest

from infra.nodes.accelerators import ACCELERATORS, GIB, MIB, Accelerator, accelerator_by_key, accelerator_by_product


def test_keys_and_gke_names_are_unique() -> None:
    keys = [a.key for a in ACCELERATORS]
    gke = [a.gke for a in ACCELERATORS if a.gke]
    assert (len(set(keys)), len(set(gke))) == (len(keys), len(gke))


def test_only_gke_has_two_names_of_one_product() -> None:
    twice = [a.key for a in ACCELERATORS if (first := accelerator_by_product(a.product)) and first.key != a.key]
    assert twice == ["h100-mega-80gb"]
    assert (
        accelerator_by_key("h100-mega-80gb")
        != accelerator_by_key("h100-80gb")
        == accelerator_by_product("NVIDIA-H100-80GB-HBM3")
    )


def test_memory_is_what_the_driver_reports_not_what_the_name_says() -> None:
    h100 = accelerator_by_product("NVIDIA-H100-80GB-HBM3")
    assert h100
    assert h100.memory_bytes == 81_559 * MIB < 80 * GIB
    assert accelerator_by_product("nvidia-l4") == accelerator_by_product("NVIDIA-L4")


@pytest.mark.parametrize("gpu", [a for a in ACCELERATORS if a.mig], ids=lambda a: a.key)
def test_slices_are_shares_of_the_whole(gpu: Accelerator) -> None:
    most = int(gpu.mig[-1].profile.partition("g")[0])
    for profile, count, reported in ((s.profile, s.count, s.memory_mib) for s in gpu.mig):
        compute, memory = map(int, re.findall(r"\d+", profile))
        assert compute * count <= most
        assert reported <= memory * 1024
        assert reported * count * MIB <= gpu.memory_bytes
        # A profile's name rounds the memory.
        assert memory * count <= gpu.memory_bytes / GIB * 1.06
    assert gpu.mig[-1].count == 1


@pytest.mark.parametrize(
    ("key", "profile", "count"),
    [("a100-40gb", "1g.5gb", 7), ("h100-80gb", "1g.20gb", 4), ("h200", "2g.35gb", 3), ("b200", "3g.90gb", 2)],
)
def test_slices_are_as_nvidia_publishes(key: str, profile: str, count: int) -> None:
    gpu = accelerator_by_key(key)
    assert gpu
    assert {s.profile: s.count for s in gpu.mig}[profile] == count


@pytest.mark.parametrize(
    ("product", "mib"),
    [
        ("NVIDIA-A100-80GB-PCIe-MIG-1g.10gb", 9_728),
        ("NVIDIA-H200-MIG-1g.18gb", 16_384),
        ("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition-MIG-1g.24gb-me", 23_680),
        ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb.me", 9_984),
        ("NVIDIA-B300-SXM6-AC-MIG-1g.34gb", 34 * 1024),  # nobody has reported it, so its name counts
    ],
)
def test_a_slice_has_the_memory_that_the_driver_reports(product: str, mib: int) -> None:
    found = accelerator_by_product(product)
    assert found
    assert found.memory_bytes == mib * MIB


@pytest.mark.parametrize("product", ["", "NVIDIA-L4-SHARED", "AMD-MI300X", "NVIDIA-A100-SXM4-80GB-MIG-mixed"])
def test_unknown_products_are_not_guessed(product: str) -> None:
    assert accelerator_by_product(product) is None
    assert accelerator_by_key(product) is None
