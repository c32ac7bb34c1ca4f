"""The cluster's images, made from Headrace's binaries and a few of Debian's, under their upstream names."""

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from infra.onprem.network import IMAGE as KUBE_ROUTER
from infra.versions import KUBERAY
from tools import cache
from tools.images.layer import Layer
from tools.images.oci import ImageConfig, write_archive, write_bundle
from tools.machines.root import debian_root

BINARIES = ("kube", "pause", "coredns", "kube-router", "ray-operator")
TOOLS = "docker.io/headrace/tools:1"
"""A shell, `socat`, `curl`, `getent` and what kube-proxy and kube-router call."""

_COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd")
_PROGRAMS = (
    *(
        "cat",
        "cp",
        "curl",
        "dash",
        "env",
        "getent",
        "grep",
        "hostname",
        "id",
        "ls",
        "mkdir",
        "mv",
        "rm",
        "sed",
        "sleep",
    ),
    *("conntrack", "ethtool", "ip", "ipset", "nft", "socat", "sysctl", "touch", "true", "xtables-nft-multi"),
)
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin"}


def digest(binaries: Mapping[str, Path], names: Iterable[str]) -> str:
    """Returns a digest of everything that goes into the images."""
    total = hashlib.sha256(Path(__file__).read_bytes())
    for part in (debian_root().name, *names, *(cache.sha256(binaries[name]) for name in BINARIES)):
        total.update(f"{part}\0".encode())
    return total.hexdigest()


def component_aliases(names: Iterable[str]) -> dict[str, str]:
    """Maps names of components' images to the one image that they all are: the components are one binary."""
    chosen = {component: name for name in names for component in _COMPONENTS if f"/{component}:" in name}
    first = chosen.pop("kube-apiserver")
    return dict.fromkeys(chosen.values(), first)


def component_image(names: Iterable[str], component: str) -> str:
    """Returns kubeadm's image name of a component."""
    (name,) = (name for name in names if f"/{component}:" in name)
    return name


def write(file: Path, binaries: Mapping[str, Path], names: Sequence[str]) -> None:
    """Writes an archive of every image that a cluster starts with.

    `names` are those that kubeadm uses (`kubeadm config images list`). The images of Kubernetes' components are one,
    under the name of the API server; see `aliases`.
    """
    root = debian_root()
    with tempfile.TemporaryDirectory(prefix=".cluster-images-", dir=file.parent) as temporary:
        work = Path(temporary)
        folder = tools(root, work / "tools")
        components = work / "components"
        components.mkdir()
        for component in _COMPONENTS:
            (components / component).symlink_to("kube")
        local = "/usr/local/bin"
        made: dict[str, tuple[Sequence[Layer | Path], ImageConfig]] = {
            component_image(names, "kube-apiserver"): (
                [folder, Layer(binaries["kube"], f"{local}/kube", mode=0o755), Layer(components, local)],
                ImageConfig(env=_ENVIRONMENT),
            ),
            KUBE_ROUTER: (
                [folder, Layer(binaries["kube-router"], f"{local}/kube-router", mode=0o755)],
                ImageConfig(env=_ENVIRONMENT),
            ),
            component_image(names, "coredns"): (
                [Layer(binaries["coredns"], "/coredns", mode=0o755)],
                ImageConfig(entrypoint=["/coredns"]),
            ),
            component_image(names, "pause"): (
                [Layer(binaries["pause"], "/pause", mode=0o755)],
                ImageConfig(entrypoint=["/pause"], user="65535:65535"),
            ),
            KUBERAY.images["operator"]: (
                [Layer(binaries["ray-operator"], "/manager", mode=0o755)],
                ImageConfig(entrypoint=["/manager"], user="65532:65532"),
            ),
            TOOLS: ([folder], ImageConfig(env=_ENVIRONMENT, cmd=["sleep", "infinity"])),
        }
        archives = []
        for number, (name, (layers, config)) in enumerate(made.items()):
            archives.append(work / f"{number}.tar")
            write_archive(archives[-1], name, layers, config)
        draft = work / "bundle.tar"
        write_bundle(draft, archives)
        draft.replace(file)


def tools(root: Path, folder: Path) -> Path:
    """Creates a small root file system with Debian's programs and the libraries that they load."""
    for path in ("usr/bin", "usr/lib", "usr/lib64", "etc", "run", "tmp", "var/lib"):
        (folder / path).mkdir(parents=True)
    for link, target in {"bin": "usr/bin", "sbin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64"}.items():
        (folder / link).symlink_to(target)
    (folder / "usr/sbin").symlink_to("bin")
    (folder / "tmp").chmod(0o1777)
    for program in _PROGRAMS:
        source = next(f for place in ("usr/bin", "usr/sbin", "sbin") if (f := root / place / program).exists())
        shutil.copy(source, folder / "usr/bin" / program)
        for library in _libraries(root, f"/{source.relative_to(root)}"):
            copy = folder / library.lstrip("/")
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / library.lstrip("/"), copy)
    plugins = next((root / "usr/lib").glob("*-linux-gnu/xtables"))
    shutil.copytree(plugins, folder / plugins.relative_to(root), dirs_exist_ok=True)
    shutil.copytree(root / "etc/iproute2", folder / "etc/iproute2")  # kube-router adds a routing table of its own
    links = {"sh": "dash", "modprobe": "true"}  # a container cannot load kernel modules
    links |= {f"{family}{verb}": "xtables-nft-multi" for family in ("iptables", "ip6tables") for verb in _VERBS}
    for link, target in links.items():
        (folder / "usr/bin" / link).symlink_to(target)
    (folder / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    return folder


_VERBS = ("", "-save", "-restore")


def _libraries(root: Path, program: str) -> list[str]:
    said = subprocess.run(["chroot", root, "ldd", program], capture_output=True, text=True, env=_ENVIRONMENT)
    return re.findall(r"(/\S+\.so\S*)", said.stdout)
