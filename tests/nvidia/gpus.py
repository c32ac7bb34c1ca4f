"""The GPUs that `nvml.c` presents to NVIDIA's programs, as NVML reports them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from infra.nodes.accelerators import MIB, Slice, accelerator_by_key
from tests.rendering.kuberay_chart import go_module_folder
from tools.binaries import gobuild

DRIVER = ("580.95.05", 13000)
"""Version of the driver, and of CUDA in NVML's notation."""

LIBRARY = "libnvidia-ml.so.1"

PROFILES = {"1g": 0, "2g": 1, "3g": 2, "4g": 3, "7g": 4}
"""NVML's number of the GPU instance profile, by the first part of its name."""

DOUBLE_1G = 9
"""NVML_GPU_INSTANCE_PROFILE_1_SLICE_REV2: one compute slice with twice the memory."""

MEDIA_1G = 7
"""NVML_GPU_INSTANCE_PROFILE_1_SLICE_REV1: one slice that has the media extensions."""


@dataclass(frozen=True)
class Gpu:
    """One GPU of a node."""

    name: str
    memory_mib: int
    compute: tuple[int, int]
    """Compute capability."""
    mig: bool | None = None
    """Whether MIG is on; None: the GPU is not capable of MIG."""
    slices: tuple[tuple[int, Slice], ...] = ()
    """Slices, each with NVML's number of its profile."""

    def uuid(self, index: int) -> str:
        return f"GPU-{index:08x}-0000-4000-8000-000000000000"

    def slice_uuid(self, index: int, at: int) -> str:
        return f"MIG-{index:08x}-0000-4000-8000-{at:012x}"


L4 = Gpu("NVIDIA L4", 23_034, (8, 9))
H100 = Gpu("NVIDIA H100 80GB HBM3", 81_559, (9, 0), mig=False)
V100 = Gpu("Tesla V100-SXM2-16GB", 16_384, (7, 0))


def sliced(gpu: Gpu, *slices: Slice, profile: int | None = None) -> Gpu:
    """Returns a GPU with MIG on and these slices; `profile` is NVML's number, where a slice's name does not say it."""
    return replace(gpu, mig=True, slices=tuple((profile or _number(gpu, each), each) for each in slices))


def _number(gpu: Gpu, one: Slice) -> int:
    first = one.profile.partition(".")[0]
    return DOUBLE_1G if first == "1g" and one.memory_mib > gpu.memory_mib / 6 else PROFILES[first]


def catalogued(key: str) -> Gpu:
    """Returns a GPU as our catalogue describes it. Its compute capability, which the catalogue lacks, is wrong."""
    known = accelerator_by_key(key)
    assert known
    return Gpu(known.product.replace("-", " "), known.memory_bytes // MIB, (9, 9), mig=False if known.mig else None)


def description(gpus: Sequence[Gpu]) -> str:
    """Returns the node's description in the format of `nvml.c`."""
    lines = ["\t".join(["driver", *map(str, DRIVER)])]
    for i, gpu in enumerate(gpus):
        mig = -1 if gpu.mig is None else int(gpu.mig)
        numbers = (i, pci_address(i), gpu.memory_mib, *gpu.compute, mig)
        lines.append("\t".join(["gpu", gpu.uuid(i), *map(str, numbers), gpu.name]))
        for j, (profile, each) in enumerate(gpu.slices):
            compute = int(each.profile.partition("g")[0])
            numbers = (j + 1, profile, compute, each.memory_mib, 16 * compute)
            lines.append("\t".join(["slice", gpu.slice_uuid(i, j), *map(str, numbers)]))
    return "".join(f"{line}\n" for line in lines)


def pci_address(index: int) -> str:
    return f"0000:00:{index + 4:02x}.0"


def mig_minors(gpus: Sequence[Gpu]) -> str:
    """Returns `/proc/driver/nvidia-caps/mig-minors`, by which the device plugin finds the device files of slices."""
    lines, minor = ["config 1", "monitor 2"], 3
    for i, gpu in enumerate(gpus):
        for j in range(len(gpu.slices)):
            lines += [f"gpu{i}/gi{j + 1}/access {minor}", f"gpu{i}/gi{j + 1}/ci0/access {minor + 1}"]
            minor += 2
    return "".join(f"{line}\n" for line in lines)


def build_library(folder: Path) -> Path:
    """Compiles `nvml.c` with NVIDIA's own header, of the version that the device plugin has.

    Skips the test if there is no C compiler.
    """
    compiler = gobuild.c_compiler()
    if compiler is None:
        pytest.skip("no C compiler is installed")
    required = (gobuild.SOURCES / "nvidia" / "go.mod").read_text().split("github.com/NVIDIA/go-nvml ")[1].split()[0]
    header = go_module_folder(f"github.com/NVIDIA/go-nvml@{required}") / "pkg" / "nvml"
    source, made = Path(__file__).with_name("nvml.c"), folder / LIBRARY
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations"]
    command = [compiler, *flags, "-DNVML_NO_UNVERSIONED_FUNC_DEFS=1", "-I", header, f"-Wl,-soname,{LIBRARY}"]
    subprocess.run([*command, "-o", made, source], check=True)
    return made
