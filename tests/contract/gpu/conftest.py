"""A node with GPUs, on which NVIDIA's programs run as their chart says with the values of our add-on."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

import pytest

from infra.config import StackConfig
from infra.gpu import placement
from infra.nodes.pools import NodePool
from infra.programs import DEVICE_PLUGIN
from tests.nvidia import gpus
from tests.nvidia.chart import Helm, Release, release
from tests.nvidia.gpus import Gpu
from tests.nvidia.kubelet import Kubelet, kubelet
from tests.nvidia.node import DEVICE_PLUGINS, Node, node
from tests.rendering.chart import helm

__all__ = ["helm"]

Joins = Callable[[StackConfig, str, Sequence[Gpu]], Release]
Plugs = Callable[..., AbstractContextManager[Kubelet]]


@pytest.fixture(scope="session")
def released(helm: Helm) -> Callable[[StackConfig], Release]:
    """What the add-on installs for a stack."""
    rendered = cache(lambda i: release(stacks[i], helm))
    stacks: dict[int, StackConfig] = {}

    def of(config: StackConfig) -> Release:
        stacks[id(config)] = config
        return rendered(id(config))

    return of


@pytest.fixture(scope="session")
def gpu_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    library = gpus.build_library(tmp_path_factory.mktemp("nvml"))
    root = Path(tempfile.mkdtemp(prefix="node-", dir="/tmp"))
    try:
        with node(root, library) as made:
            made.install(DEVICE_PLUGIN)
            yield made
    finally:
        shutil.rmtree(root)


def pool_named(config: StackConfig, name: str) -> NodePool:
    """Returns a node pool as the stack creates it, with the labels that select its configuration."""
    return next(pool for pool in placement.node_pools(placement.place(config)) if pool.name == name)


@pytest.fixture
def joins(gpu_node: Node, released: Callable[[StackConfig], Release]) -> Joins:
    """Makes the node one of a stack's node pool, with these GPUs; returns what is installed there."""

    def join(config: StackConfig, pool: str, present: Sequence[Gpu]) -> Release:
        installed = released(config)
        gpu_node.present(present)
        gpu_node.api.labels = pool_named(config, pool).node_labels
        if installed.configs:
            gpu_node.configure(installed.configs, installed.environment("nvidia-device-plugin-init"))
        return installed

    return join


@pytest.fixture
def plugs(gpu_node: Node) -> Plugs:
    """Runs the device plugin beside a kubelet."""

    @contextmanager
    def run(installed: Release, **more: str) -> Iterator[Kubelet]:
        environment = {**installed.environment("nvidia-device-plugin-ctr"), **more}
        folder = gpu_node.path(DEVICE_PLUGINS)
        with kubelet(folder) as listening, gpu_node.start("nvidia-device-plugin", environment=environment) as process:
            try:
                yield listening
            except TimeoutError:
                process.kill()
                print(process.communicate()[0])
                raise
        for socket in folder.iterdir():
            socket.unlink()

    return run
