"""Offline bundles for the tests' machines: Kubernetes, the images that a cluster starts with, and Debian packages."""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.onprem_config import BINARIES
from infra.programs import KUBERNETES, Kit
from tools import bundle, cache
from tools.binaries import find
from tools.cluster import images
from tools.cluster.kubectl import binaries
from tools.images.oci import IMAGE_NAME, REF_NAME
from tools.machines.root import debian_root
from tools.report import ToolError, say


def cached_bundle(kit: Kit = KUBERNETES) -> Path:
    """Returns the bundle of this Kubernetes, creating it if it is not in the cache.

    Raises:
        ToolError: a part of it cannot be obtained.
    """
    found = find.obtain(kit)
    files = {**binaries(), **found.files}
    names = _image_names(files["kube"], found.version)
    digest = hashlib.sha256(Path(__file__).read_bytes() + images.digest(files, names).encode()).hexdigest()
    folder = cache.root() / f"cluster-bundle-{found.version}-{digest[:12]}"
    if folder.exists():
        return folder
    with cache.lock("cluster-bundle"):
        if not folder.exists():
            say("cluster: packing Kubernetes, CoreDNS, kube-router and KubeRay's operator")
            for old in folder.parent.glob(f"cluster-bundle-{found.version}-*"):
                shutil.rmtree(old)
            with cache.scratch("cluster-bundle") as work:
                make_bundle(work / "bundle", work, kit=kit).rename(folder)
    return folder


def make_bundle(folder: Path, work: Path, *packages: str, kit: Kit = KUBERNETES) -> Path:
    """Writes a bundle with packages that the machines lack; `work` is a folder for temporary files."""
    found = find.obtain(kit)
    files = {**binaries(), **found.files}
    names = _image_names(files["kube"], found.version)
    images.write(archive := work / "named-once.tar", files, names)
    (tools := work / "tools").mkdir()
    for name in BINARIES:
        (tools / name).symlink_to(files["kube"])
    _add_aliases(archive, work / "images.tar", images.component_aliases(names))
    archive.unlink()
    programs = {name: tools / name for name in BINARIES}
    debs = _download_packages(work / "packages", *packages) if packages else []
    bundle.make(folder, found.version, programs, [work / "images.tar"], debs)
    (work / "images.tar").unlink()
    return folder


def _image_names(kube: Path, version: str) -> Sequence[str]:
    """Returns the names of the images that kubeadm would pull."""
    done = subprocess.run(
        [kube, "kubeadm", "config", "images", "list", f"--kubernetes-version=v{version}"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ToolError(f"kubeadm config images list: {done.stderr.strip()}")
    return done.stdout.split()


def _add_aliases(archive: Path, out: Path, aliases: Mapping[str, str]) -> None:
    """Copies an archive and adds aliases, each for an image in the archive."""
    with tarfile.open(archive) as source, tarfile.open(out, "w") as target:
        for member in source:
            content = source.extractfile(member)
            assert content is not None
            if member.name == "index.json":
                index = json.load(content)
                by_name = {entry["annotations"][IMAGE_NAME]: entry for entry in index["manifests"]}
                index["manifests"] += [
                    {**by_name[name], "annotations": {IMAGE_NAME: alias, REF_NAME: alias}}
                    for alias, name in aliases.items()
                ]
                data = json.dumps(index).encode()
                member.size, content = len(data), io.BytesIO(data)
            target.addfile(member, content)


def _download_packages(folder: Path, *names: str) -> list[Path]:
    """Downloads those of the packages and their dependencies that the machines lack, from this host's mirror."""
    (folder / "partial").mkdir(parents=True)
    status = debian_root() / "var/lib/dpkg/status"
    options = (f"-oDir::State::status={status}", f"-oDir::Cache::archives={folder}/", "-oDebug::NoLocking=1")
    fetch = ["apt-get", *options, "-oAPT::Sandbox::User=root", "install", "-qq", "-y", "--download-only"]
    fetch += ["--no-install-recommends", *names]
    if subprocess.run(fetch, capture_output=True).returncode:  # the host's package lists are old or missing
        subprocess.run(["apt-get", "update", "-qq"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(fetch, check=True, stdout=subprocess.DEVNULL)
    return sorted(folder.glob("*.deb"))
