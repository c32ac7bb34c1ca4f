"""The versions, checksums and modules of every program that the stack and its tests run.

A new program is another `Kit` in `KITS`. The module imports only the standard library, since `tools` uses it before
anything is installed. Charts and images are in `infra.versions`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Version = tuple[int, int, int]


@dataclass(frozen=True)
class Archive:
    """URL of a vendor's .tar.gz and its SHA-256 (hex)."""

    url: str
    sha256: str


@dataclass(frozen=True)
class Release:
    """A vendor's release, with the archive of each supported platform (`linux-amd64`, ...)."""

    version: str
    archives: Mapping[str, Archive]


@dataclass(frozen=True)
class GoModule:
    """A build from the Go module proxy.

    `source` is the folder under tools/go with go.mod and go.sum; `packages` are the main packages, built by one
    `go build`; `files` are scripts to copy from modules, as pairs of module and path. `overlay` are files of modules
    that the sources embed, as (path below `source`, module, path in the module). `modfile` replaces go.mod, and the
    file of the same name with the suffix .sum replaces go.sum. With `cgo`, a C compiler builds the C that the packages
    contain.
    """

    version: str
    source: str
    packages: tuple[str, ...]
    tags: str = ""
    ldflags: str = ""
    files: tuple[tuple[str, str], ...] = ()
    overlay: tuple[tuple[str, str, str], ...] = ()
    # Not in `repr`, which is the key of cached builds.
    modfile: str = field(default="go.mod", repr=False)
    cgo: bool = field(default=False, repr=False)


@dataclass(frozen=True)
class Kit:
    """Binaries from the same source, so that their versions match.

    The first binary, run with `version_args`, prints the version. Binaries on PATH are accepted if
    `at_least` <= version < `below`.
    """

    name: str
    binaries: tuple[str, ...]
    version_args: tuple[str, ...]
    at_least: Version
    below: Version
    homepage: str
    release: Release | None = None
    go: GoModule | None = None
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


_PULUMI_SDK = "github.com/pulumi/pulumi/sdk/v3"

PULUMI = Kit(
    name="pulumi",
    binaries=(
        "pulumi",
        "pulumi-language-python",
        "pulumi-language-python-exec",
        "pulumi-resource-pulumi-python",
    ),
    version_args=("version",),
    env=MappingProxyType({"PULUMI_SKIP_UPDATE_CHECK": "true"}),
    at_least=(3, 255, 0),
    below=(4, 0, 0),
    homepage="https://www.pulumi.com/docs/iac/download-install/",
    # The module proxy does not have the vendor's language host, so a copy in tools/go replaces it.
    go=GoModule(
        version="3.274.1",
        source="pulumi",
        packages=("github.com/pulumi/pulumi/pkg/v3/cmd/pulumi", "./pulumi-language-python"),
        tags="osusergo grpcnotrace",
        ldflags=f"-s -w -X {_PULUMI_SDK}/go/common/version.Version=v3.274.1",
        files=(
            (_PULUMI_SDK, "python/cmd/pulumi-language-python-exec"),
            (_PULUMI_SDK, "python/dist/pulumi-resource-pulumi-python"),
        ),
    ),
    release=Release(
        version="3.255.0",
        archives=MappingProxyType(
            {
                "linux-amd64": Archive(
                    "https://get.pulumi.com/releases/sdk/pulumi-v3.255.0-linux-x64.tar.gz",
                    "cf559568e2c32f7fae56ea3de8ae5fa48973ba8c5aa9dd2b3dc0c8898fe50dba",
                ),
                "linux-arm64": Archive(
                    "https://get.pulumi.com/releases/sdk/pulumi-v3.255.0-linux-arm64.tar.gz",
                    "699fbc6ea848d997e9b3645487f108d27b1b55ec807c7576406131e6e080f0e3",
                ),
            }
        ),
    ),
)

PROMETHEUS = Kit(
    name="prometheus",
    binaries=("prometheus", "promtool"),
    version_args=("--version",),
    at_least=(3, 0, 0),
    below=(4, 0, 0),
    homepage="https://prometheus.io/download/",
    # The module (v0.316.0 is release 3.16.0) does not contain the built web UI; the API is complete.
    # Only the static, file and Kubernetes service discoveries are built; the others are most of a full build.
    go=GoModule(
        version="3.16.0",
        source="prometheus",
        packages=(
            "github.com/prometheus/prometheus/cmd/prometheus",
            "github.com/prometheus/prometheus/cmd/promtool",
        ),
        tags="netgo,remove_all_sd,enable_kubernetes_sd",
        ldflags="-s -w -X github.com/prometheus/common/version.Version=3.16.0",
    ),
    release=Release(
        version="3.15.0",
        archives=MappingProxyType(
            {
                "linux-amd64": Archive(
                    "https://github.com/prometheus/prometheus/releases/download/v3.15.0/prometheus-3.15.0.linux-amd64.tar.gz",
                    "2a542df32eac02ee17b9d844fb2aa1de00dafa5476579ba8a3ba862e9d572ea0",
                ),
                "linux-arm64": Archive(
                    "https://github.com/prometheus/prometheus/releases/download/v3.15.0/prometheus-3.15.0.linux-arm64.tar.gz",
                    "f1f90ec08e849d494ca66c611470afc50192f0355f1a61c33f2cbde02d067823",
                ),
            }
        ),
    ),
)

HELM = Kit(
    name="helm",
    binaries=("helm",),
    version_args=("version", "--short"),
    at_least=(4, 0, 0),
    below=(5, 0, 0),
    homepage="https://helm.sh/docs/intro/install/",
    go=GoModule(
        version="4.3.1",
        source="helm",
        packages=("helm.sh/helm/v4/cmd/helm",),
        ldflags="-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1",
    ),
)

_KUBERNETES_PROVIDER = "github.com/pulumi/pulumi-kubernetes/provider/v4"

# Pulumi runs the provider on PATH regardless of the version that the SDK requests, so it is pinned to the SDK's.
PULUMI_KUBERNETES = Kit(
    name="pulumi-kubernetes",
    binaries=("pulumi-resource-kubernetes",),
    version_args=("--version",),
    at_least=(4, 25, 0),
    below=(4, 25, 1),
    homepage="https://www.pulumi.com/registry/packages/kubernetes/",
    # The module proxy has the release's commit, but not its tag.
    go=GoModule(
        version="4.25.0",
        source="pulumi-kubernetes",
        packages=("./pulumi-resource-kubernetes",),
        tags="osusergo grpcnotrace",
        ldflags=f"-s -w -X {_KUBERNETES_PROVIDER}/pkg/version.Version=4.25.0",
        overlay=tuple(
            (
                f"pulumi-resource-kubernetes/{name}",
                _KUBERNETES_PROVIDER,
                f"cmd/pulumi-resource-kubernetes/{name}",
            )
            for name in ("schema.json", "terraform-mapping.json")
        ),
    ),
)

_COMPONENT_BASE = "k8s.io/component-base/version"

# All components of Kubernetes in one binary, and the pause container.


def _kubernetes(name: str, version: Version, modfile: str = "go.mod") -> Kit:
    major, minor, _ = version
    text = ".".join(map(str, version))
    return Kit(
        name=name,
        binaries=("kube", "pause"),
        version_args=("kubectl", "version", "--client"),
        at_least=version,
        below=(major, minor + 1, 0),
        homepage="https://kubernetes.io/releases/",
        go=GoModule(
            version=text,
            source="kubernetes",
            packages=("./kube", "./pause"),
            ldflags=(
                f"-s -w -X {_COMPONENT_BASE}.gitVersion=v{text} -X {_COMPONENT_BASE}.gitMajor={major}"
                f" -X {_COMPONENT_BASE}.gitMinor={minor} -X {_COMPONENT_BASE}.gitTreeState=clean"
                f" -X k8s.io/client-go/pkg/version.gitVersion=v{text}"
            ),
            modfile=modfile,
        ),
    )


KUBERNETES = _kubernetes("kubernetes", (1, 37, 2))
KUBERNETES_BEFORE = _kubernetes("kubernetes-before", (1, 36, 3), "before.mod")
"""The previous minor version, from which the long campaigns upgrade clusters."""

COREDNS = Kit(
    name="coredns",
    binaries=("coredns",),
    version_args=("-version",),
    at_least=(1, 15, 0),
    below=(1, 16, 0),
    homepage="https://coredns.io/",
    go=GoModule(version="1.15.0", source="coredns", packages=(".",), ldflags="-s -w"),
)

KUBE_ROUTER = Kit(
    name="kube-router",
    binaries=("kube-router",),
    version_args=("--version",),
    at_least=(2, 1, 0),
    below=(2, 2, 0),
    homepage="https://www.kube-router.io/",
    go=GoModule(
        version="2.1.0",
        source="kube-router",
        packages=("github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",),
        ldflags="-s -w -X github.com/cloudnativelabs/kube-router/v2/pkg/version.Version=v2.1.0",
    ),
)

RAY_OPERATOR = Kit(
    name="kuberay",
    binaries=("ray-operator",),
    version_args=("-help",),  # it does not print its version, so one on PATH is never used
    at_least=(1, 5, 0),
    below=(1, 6, 0),
    homepage="https://docs.ray.io/en/latest/cluster/kubernetes/index.html",
    go=GoModule(
        version="1.5.0",
        source="kuberay",
        packages=("github.com/ray-project/kuberay/ray-operator",),
        ldflags="-s -w",
    ),
)

_NVIDIA = "github.com/NVIDIA/k8s-device-plugin"

# NVIDIA's programs in the pods of the chart `infra.versions.GPU_DEVICE_PLUGIN`, and its version of node feature
# discovery. They load NVML with dlopen: without `-z lazy`, NVIDIA's own flag, they would look for it as they start.


def _nvidia(*names: str, more: tuple[str, ...] = ()) -> Kit:
    return Kit(
        name=names[0],
        binaries=(*names, *(package.rpartition("/")[2] for package in more)),
        version_args=("--version",),
        at_least=(0, 18, 0),
        below=(0, 18, 1),
        homepage="https://github.com/NVIDIA/k8s-device-plugin",
        go=GoModule(
            version="0.18.0",
            source="nvidia",
            packages=(*(f"{_NVIDIA}/cmd/{name}" for name in names), *more),
            ldflags=(
                f"-s -w -extldflags=-Wl,-z,lazy -X {_NVIDIA}/internal/info.version=v0.18.0"
                " -X sigs.k8s.io/node-feature-discovery/pkg/version.version=v0.17.3"
            ),
            cgo=True,
        ),
    )


DEVICE_PLUGIN = _nvidia("nvidia-device-plugin", "mps-control-daemon")
FEATURE_DISCOVERY = _nvidia(
    "gpu-feature-discovery", "config-manager", more=("sigs.k8s.io/node-feature-discovery/cmd/nfd-worker",)
)
"""The programs that talk to Kubernetes, whose client is most of their build."""

KITS: tuple[Kit, ...] = (PULUMI, PROMETHEUS, HELM, PULUMI_KUBERNETES)
"""Tools of the stack and its tests on this host."""

CLUSTER_KITS: tuple[Kit, ...] = (KUBERNETES, COREDNS, KUBE_ROUTER, RAY_OPERATOR)
"""Programs of the test cluster only, which take minutes to build."""

GPU_KITS: tuple[Kit, ...] = (DEVICE_PLUGIN, FEATURE_DISCOVERY)
"""NVIDIA's programs of a node with GPUs, which the tests run on a library that presents GPUs."""
