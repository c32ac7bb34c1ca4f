"""A machine without a bundle downloads its binaries; its host key and its owner are checked first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.onprem.bundle import OfflineBundle, sha256
from infra.onprem.inputs import ResourceInputs
from infra.onprem_config import BINARIES, OnPrem
from infra.providers.machine import MachineProvider as MachineResource
from infra.resources.problem import Problem
from infra.resources.resource import Task
from tests.cluster import onprem
from tests.cluster.listing import listing
from tests.cluster.onprem import running
from tests.wait import eventually
from tools.cluster import bundle as bundles
from tools.cluster.images import TOOLS
from tools.cluster.onprem import host
from tools.machines import network
from tools.machines.host import check
from tools.machines.machine import KEY, Machine


@pytest.fixture
def bundle() -> Path:
    check()
    return bundles.cached_bundle()


@pytest.fixture
def downloads(bundle: Path, tmp_path: Path) -> Iterator[str]:
    """Serves the binaries as their vendor does, at this host's address in the machines' network."""
    folder = tmp_path / f"v{onprem.version()}/bin/linux/amd64"
    folder.mkdir(parents=True)
    for name in BINARIES:
        (folder / name).symlink_to(bundle / "bin/kube")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with running("op-w2"), ThreadingHTTPServer((network.HOST, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{network.HOST}:{server.server_address[1]}"
        server.shutdown()


def test_a_machine_downloads_its_binaries_after_its_identity_is_checked(bundle: Path, downloads: str) -> None:
    machine = Machine.load("op-w2")
    before = listing(machine)
    task = Task(lambda words: None)

    def inputs(**given: Any) -> dict[str, Any]:
        hosts = [host(machine, role="control_plane")]
        settings = OnPrem.model_validate({**onprem.wanted(*hosts), **given})
        return ResourceInputs(settings, "onprem").machine(settings.hosts[0])

    def fetched(checksum: str) -> dict[str, Any]:
        return inputs(downloads=downloads, checksums=dict.fromkeys(BINARIES, checksum))

    resource = MachineResource()
    with pytest.raises(Problem, match="checksum did NOT match"):
        resource.create(fetched("0" * 64), task)
    good = fetched(sha256(bundle / "bin/kube"))
    resource.create(good, task)
    assert machine.run(["kubeadm", "version", "-o", "short"]).stdout == f"v{onprem.version()}\n"
    assert resource.read("op-w2", good).outputs == good
    machine.run(["sh", "-c", "echo 'vm.swappiness=1' >>/etc/sysctl.d/90-headrace-kubernetes.conf"])
    assert resource.read("op-w2", good).outputs["drifted"]
    with pytest.raises(Problem, match="it belongs to stack 'onprem'"):
        resource.create({**good, "stack": "other"}, task)
    stranger = KEY.with_suffix(".pub").read_text()
    with pytest.raises(Problem, match=r"the host key at 10\.251\.0\.47 differs from"):
        resource.create({**good, "host_key": stranger}, task)
    resource.update("op-w2", good, inputs(bundle=str(bundle)), task)
    present = machine.run(["ctr", "--namespace=k8s.io", "images", "list", "--quiet"]).stdout.splitlines()
    digests = OfflineBundle.open(str(bundle)).digests
    assert digests.keys() | {f"{TOOLS.rpartition(':')[0]}@{digests[TOOLS]}"} <= set(present)
    resource.delete("op-w2", good, task)
    eventually(lambda: listing(machine) == before)
    assert resource.read("op-w2", good).id is None

    script = "useradd -m ann; cp -r ~root/.ssh ~ann/; chown -R ann ~ann/.ssh"
    machine.run(["sh", "-ec", script])
    with pytest.raises(Problem, match="ann cannot use sudo without a password"):
        resource.create({**good, "user": "ann"}, task)
    machine.run(["sh", "-c", "echo 'ann ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ann"])
    resource.create({**good, "user": "ann"}, task)
    resource.delete("op-w2", {**good, "user": "ann"}, task)
