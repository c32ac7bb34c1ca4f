import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.programs import CLUSTER_KITS, GPU_KITS, KITS, KUBERNETES_BEFORE, GoModule, Kit
from tools.binaries.gobuild import SOURCES, GoBuild, GoBuildOutput
from tools.report import ToolError

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")


@needs_go
def test_the_binaries_are_built_stamped_and_run(vendor: Any, go_module: GoModule, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    GoBuild(vendor.kit(), go_module).make(out)
    ran = subprocess.run([out / "alpha"], capture_output=True, text=True, check=True)
    assert ran.stderr == "alpha version 1.2.9\n"
    assert sorted(file.name for file in out.iterdir()) == ["alpha", "alpha-helper"]


@needs_go
def test_failed_builds_report_the_compilers_output(vendor: Any, go_module: GoModule, tmp_path: Path) -> None:
    (tmp_path / "go" / "alpha" / "alpha" / "main.go").write_text("package main\n\nfunc main() { absent() }\n")
    with pytest.raises(ToolError, match=r"go build failed: .*main\.go:3:15: undefined: absent"):
        GoBuild(vendor.kit(), go_module).make(tmp_path)


@needs_go
def test_a_file_of_an_unknown_module_is_one_line(vendor: Any, go_module: GoModule, tmp_path: Path) -> None:
    module = replace(go_module, files=(("example.org/absent", "script"),))
    with pytest.raises(ToolError, match=r"go mod download example\.org/absent: .*not a known dependency"):
        GoBuild(vendor.kit(), module).make(tmp_path)


@needs_go
def test_a_source_embeds_a_file_that_another_module_carries(
    vendor: Any, go_module: GoModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Go's proxy is a folder here: what Go fetches, checks and keeps is Go's own work."""
    proxy = tmp_path / "proxy/example.org/carrier/@v"
    proxy.mkdir(parents=True)
    manifest = "module example.org/carrier\n\ngo 1.21\n"
    (proxy / "v1.0.0.mod").write_text(manifest)
    (proxy / "v1.0.0.info").write_text('{"Version": "v1.0.0"}')
    with zipfile.ZipFile(proxy / "v1.0.0.zip", "w") as archive:
        for name, content in {"go.mod": manifest, "carrier.go": "package carrier\n", "data/text": "carried"}.items():
            archive.writestr(f"example.org/carrier@v1.0.0/{name}", content)
    environment = {"GOPROXY": proxy.parents[2].as_uri(), "GONOSUMDB": "*", "GOMODCACHE": str(tmp_path / "modules")}
    for name, value in {**environment, "GOFLAGS": "-modcacherw"}.items():
        monkeypatch.setenv(name, value)
    source = tmp_path / "go/alpha"
    (source / "go.mod").write_text("module example.org/alpha\n\ngo 1.21\n\nrequire example.org/carrier v1.0.0\n")
    (source / "alpha/main.go").write_text(
        'package main\n\nimport (\n\t_ "embed"\n\n\t_ "example.org/carrier"\n)\n\n'
        "//go:embed text\nvar text string\n\nfunc main() { println(text) }\n"
    )
    subprocess.run(["go", "mod", "tidy"], cwd=source, check=True, capture_output=True)
    out = tmp_path / "out"
    out.mkdir()
    module = replace(go_module, overlay=(("alpha/text", "example.org/carrier", "data/text"),))
    GoBuild(vendor.kit(), module).make(out)
    assert subprocess.run([out / "alpha"], capture_output=True, text=True, check=True).stderr == "carried\n"
    assert not (source / "alpha/text").exists()


def test_a_missing_c_compiler_is_reported(
    vendor: Any, go_module: GoModule, path_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CC", raising=False)
    (path_dir / "go").write_text("#!/bin/sh\n")
    (path_dir / "go").chmod(0o755)
    with pytest.raises(ToolError, match="no C compiler is installed"):
        GoBuild(vendor.kit(), replace(go_module, cgo=True)).make(path_dir)


def test_a_missing_go_is_reported(vendor: Any, go_module: GoModule, path_dir: Path) -> None:
    with pytest.raises(ToolError, match="Go is not installed"):
        GoBuild(vendor.kit(), go_module).make(path_dir)


def test_the_key_follows_sources_and_flags(vendor: Any, go_module: GoModule, tmp_path: Path) -> None:
    kit, source = vendor.kit(), tmp_path / "go" / "alpha"
    keys = [GoBuild(kit, replace(go_module, **change)).key for change in ({}, {"tags": "netgo"}, {"cgo": True})]
    (source / "README.md").write_text("not a source")
    assert GoBuild(kit, go_module).key == keys[0]
    for file in ("go.mod", "go.sum", "alpha/main.go"):
        with (source / file).open("a") as out:
            out.write("// changed\n")
        keys.append(GoBuild(kit, go_module).key)
    (source / "alpha" / "main.go").rename(source / "alpha" / "other.go")
    keys.append(GoBuild(kit, go_module).key)
    assert len(set(keys)) == 7


@needs_go
def test_an_alternative_module_file_is_used(vendor: Any, go_module: GoModule, tmp_path: Path) -> None:
    kit, source = vendor.kit(), tmp_path / "go" / "alpha"
    other = replace(go_module, modfile="before.mod")
    (source / "before.mod").write_text((source / "go.mod").read_text())
    (source / "before.sum").write_text("")
    keys = [GoBuild(kit, go_module).key, GoBuild(kit, other).key]
    with (source / "before.mod").open("a") as out:
        out.write("// changed\n")
    assert GoBuild(kit, go_module).key == keys[0]
    assert GoBuild(kit, other).key not in keys
    (source / "go.mod").write_text("no module")
    out = tmp_path / "out"
    out.mkdir()
    GoBuild(kit, other).make(out)
    assert (out / "alpha").exists()


def test_progress_counts_what_go_prints() -> None:
    output = GoBuildOutput()
    assert str(output) == "0 modules downloaded, 0 packages compiled, last: reading the build cache"
    for line in ("go: downloading example.org/a v1.0.0", "example.org/a", "example.org/b"):
        output.add(line)
    assert str(output) == "1 modules downloaded, 2 packages compiled, last: example.org/b"


# What each kit's go.mod requires for the version that the kit has.
REQUIRED = {
    "pulumi": "github.com/pulumi/pulumi/pkg/v3 v{0}.{1}.{2}",
    "prometheus": "github.com/prometheus/prometheus v0.{0}{1}.{2}",
    "helm": "helm.sh/helm/v4 v{0}.{1}.{2}",
    "pulumi-kubernetes": "github.com/pulumi/pulumi-kubernetes/provider/v4 v{0}.0.0-20260115033456-f47bc2d6f199",
    "kubernetes": "k8s.io/kubernetes v{0}.{1}.{2}",
    "kubernetes-before": "k8s.io/kubernetes v{0}.{1}.{2}",
    "coredns": "github.com/coredns/coredns v{0}.{1}.{2}",
    "kube-router": "github.com/cloudnativelabs/kube-router/v2 v{0}.{1}.{2}",
    "nvidia-device-plugin": "github.com/NVIDIA/k8s-device-plugin v{0}.{1}.{2}",
    "gpu-feature-discovery": "github.com/NVIDIA/k8s-device-plugin v{0}.{1}.{2}",
    "kuberay": "github.com/ray-project/kuberay/ray-operator v{0}.{1}.{2}",
}


@pytest.mark.parametrize("kit", [*KITS, *CLUSTER_KITS, *GPU_KITS, KUBERNETES_BEFORE], ids=lambda kit: kit.name)
def test_committed_modules_match_the_pinned_versions(kit: Kit) -> None:
    """go.mod and versions.py say the same, and no module is replaced by a local folder."""
    assert kit.go
    modfile = SOURCES / kit.go.source / kit.go.modfile
    text = modfile.read_text()
    assert REQUIRED[kit.name].format(*kit.go.version.split(".")) in text
    assert "=> ." not in text
    assert "=> /" not in text
    assert "-X " not in kit.go.ldflags or kit.go.version in kit.go.ldflags
    assert modfile.with_suffix(".sum").read_text()
