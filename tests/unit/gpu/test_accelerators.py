"""What is known about GPUs, by the product that nodes are labelled with."""

from __future__ import annotations

import pytest

from infra.gpu.accelerators import ACCELERATORS, GIB, MIB, accelerator


def test_products_stand_once() -> None:
    products = [a.product.lower() for a in ACCELERATORS]
    assert len(set(products)) == len(products)


def test_memory_is_what_the_driver_reports_not_what_the_name_says() -> None:
    h100 = accelerator("NVIDIA-H100-80GB-HBM3")
    assert h100
    assert h100.memory_bytes == 81_559 * MIB < 80 * GIB
    assert accelerator("nvidia-l4") == accelerator("NVIDIA-L4")


@pytest.mark.parametrize(
    ("product", "size"),
    [("NVIDIA-A100-SXM4-80GB-MIG-3g.40gb", 40), ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", 10)],
)
def test_a_slice_has_the_memory_of_its_profile(product: str, size: int) -> None:
    found = accelerator(product)
    assert found
    assert found.memory_bytes == size * GIB


@pytest.mark.parametrize("product", ["", "NVIDIA-L4-SHARED", "AMD-MI300X", "NVIDIA-A100-SXM4-80GB-MIG-mixed"])
def test_what_is_not_known_is_not_guessed(product: str) -> None:
    assert accelerator(product) is None
