"""The image's layer of code, by its sources: an image is built minutes later, on another tier."""

from tests.images.built.test_serving import CODE_LAYER_BYTES
from tools.images.build import RECIPES, ROOT


def test_the_layer_of_code_stays_small_enough_to_travel_with_each_change() -> None:
    sizes = {
        file: file.stat().st_size
        for folder in RECIPES["serving"].code
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    largest = [f"{file.relative_to(ROOT)} ({size})" for file, size in sorted(sizes.items(), key=lambda i: -i[1])[:5]]
    # Byte code takes as much again.
    assert sum(sizes.values()) < CODE_LAYER_BYTES / 2, f"put data into a package of its own; the largest: {largest}"
