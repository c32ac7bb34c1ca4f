"""An offline bundle is made, opened, and its damage is seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.onprem.bundle import OfflineBundle
from infra.resources.problem import Problem
from tools import bundle as tool
from tools.images.oci import write_archive
from tools.report import ToolError

NAME = "registry.k8s.io/coredns/coredns:v1.15.0"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    (tmp_path / "kube").write_text("all of it")
    for name in ("kubeadm", "kubelet"):
        (tmp_path / name).symlink_to("kube")
    (tmp_path / "kubectl").write_text("another")
    (tmp_path / "layer").mkdir()
    write_archive(tmp_path / "image.tar", NAME, [tmp_path / "layer"])
    arguments = [str(tmp_path / "made"), "--version=1.37.2", f"--binaries={tmp_path}", f"--image={tmp_path}/image.tar"]
    assert tool.main(arguments) == 0
    return tmp_path / "made"


def test_a_bundle_contains_its_inputs(made: Path) -> None:
    bundle = OfflineBundle.open(str(made))
    assert bundle.mistakes("1.37.2") == []
    assert bundle.binaries == {"kubeadm": "bin/kube", "kubelet": "bin/kube", "kubectl": "bin/kubectl"}
    assert bundle.file(bundle.binaries["kubelet"]).read_text() == "all of it"
    assert list(bundle.digests) == [NAME]
    assert bundle.tag("registry.k8s.io/coredns/coredns") == "v1.15.0"
    assert bundle.tag("registry.k8s.io/coredns") == ""


def test_a_damaged_bundle_is_detected(made: Path) -> None:
    bundle = OfflineBundle.open(str(made))
    (made / "bin/kubectl").unlink()
    (made / "images.tar").write_bytes(b"half")
    said = " ".join(bundle.mistakes("1.37.2"))
    assert "kubectl is missing" in said
    assert "images.tar is damaged" in said


def test_version_mismatches_and_missing_binaries_are_reported(made: Path) -> None:
    manifest = json.loads((made / "bundle.json").read_text())
    del manifest["binaries"]["kubectl"]
    (made / "bundle.json").write_text(json.dumps(manifest))
    said = " ".join(OfflineBundle.open(str(made)).mistakes("1.37.3"))
    assert "has Kubernetes 1.37.2, but the cluster needs 1.37.3" in said
    assert "has no kubectl" in said


@pytest.mark.parametrize("content", [None, "{}", "no json"])
def test_invalid_bundles_are_rejected(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "bundle.json").write_text(content)
    with pytest.raises(Problem, match="is not a bundle"):
        OfflineBundle.open(str(tmp_path))


def test_uncreatable_bundles_are_errors(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="exists; remove it"):
        tool.make(made, "1.37.2", {}, [])
    with pytest.raises(ToolError, match="does not exist, or is not a file"):
        tool.make(tmp_path / "new", "1.37.2", {"kubeadm": tmp_path / "absent"}, [])
    assert not (tmp_path / "new").exists()
