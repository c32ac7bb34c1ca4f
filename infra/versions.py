"""Every version, checksum and module that the stack pins, in this one place.

A new tool is one more `Kit` in `KITS`. The module imports nothing heavy: `tools` reads it before anything else runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Version = tuple[int, int, int]


@dataclass(frozen=True)
class Archive:
    """A vendor's .tar.gz and the SHA-256 (hex) of that file."""

    url: str
    sha256: str


@dataclass(frozen=True)
class Release:
    """A vendor's release: the archive of each platform (`linux-amd64`, ...) whose checksum we know."""

    version: str
    archives: Mapping[str, Archive]


@dataclass(frozen=True)
class GoModule:
    """A build from the Go module proxy.

    `source` is the folder under tools/go that holds go.mod and go.sum; `packages` are the main packages, built by
    one `go build`; `files` are (module, path in it) pairs of scripts that a module carries ready to use.
    """

    version: str
    source: str
    packages: tuple[str, ...]
    tags: str = ""
    ldflags: str = ""
    files: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Kit:
    """Binaries that belong together and are always taken from one source, so that their versions match.

    The first binary, run with `version_args`, prints the version of all. One on PATH is accepted when
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
    # The vendor's language host is a module of its own that the module proxy does not serve, so ours stands in for it.
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
    # The module (v0.316.0 is release 3.16.0) carries no built web page: the API is whole, the page is not there.
    # Of the service discoveries we use static, file and Kubernetes only; the others are most of a full build.
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

KITS: tuple[Kit, ...] = (PULUMI, PROMETHEUS)
