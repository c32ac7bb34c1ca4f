import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.versions import KITS, GoModule
from tools.gobuild import SOURCES, GoBuild, Output
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
def test_a_build_that_fails_says_what_the_compiler_said(vendor: Any, go_module: GoModule, tmp_path: Path) -> None:
    (tmp_path / "go" / "alpha" / "alpha" / "main.go").write_text("package main\n\nfunc main() { absent() }\n")
    with pytest.raises(ToolError, match=r"go build failed: .*main\.go:3:15: undefined: absent"):
        GoBuild(vendor.kit(), go_module).make(tmp_path)


@needs_go
def test_a_file_of_an_unknown_module_is_one_line(vendor: Any, go_module: GoModule, tmp_path: Path) -> None:
    module = replace(go_module, files=(("example.org/absent", "script"),))
    with pytest.raises(ToolError, match=r"go list .*example\.org/absent"):
        GoBuild(vendor.kit(), module).make(tmp_path)


def test_without_go_it_says_so(vendor: Any, go_module: GoModule, path_dir: Path) -> None:
    with pytest.raises(ToolError, match="Go is not installed"):
        GoBuild(vendor.kit(), go_module).make(path_dir)


def test_the_key_follows_sources_and_flags(vendor: Any, go_module: GoModule, tmp_path: Path) -> None:
    kit, source = vendor.kit(), tmp_path / "go" / "alpha"
    keys = [GoBuild(kit, go_module).key, GoBuild(kit, replace(go_module, tags="netgo")).key]
    (source / "README.md").write_text("not a source")
    assert GoBuild(kit, go_module).key == keys[0]
    for file in ("go.mod", "go.sum", "alpha/main.go"):
        with (source / file).open("a") as out:
            out.write("// changed\n")
        keys.append(GoBuild(kit, go_module).key)
    (source / "alpha" / "main.go").rename(source / "alpha" / "other.go")
    keys.append(GoBuild(kit, go_module).key)
    assert len(set(keys)) == 6


def test_progress_counts_what_go_prints() -> None:
    output = Output()
    assert str(output) == "0 modules downloaded, 0 packages compiled, last: reading the build cache"
    for line in ("go: downloading example.org/a v1.0.0", "example.org/a", "example.org/b"):
        output.add(line)
    assert str(output) == "1 modules downloaded, 2 packages compiled, last: example.org/b"


@pytest.mark.parametrize("kit", KITS, ids=lambda kit: kit.name)
def test_the_committed_modules_pin_what_versions_says(kit: Any) -> None:
    """go.mod and versions.py say the same, and no module is replaced by a local folder."""
    text = (SOURCES / kit.go.source / "go.mod").read_text()
    major, minor, patch = kit.go.version.split(".")
    assert f"/v{major} v{kit.go.version}" in text or f"/{kit.name} v0.{major}{minor}.{patch}" in text
    assert "replace" not in text
    assert kit.go.version in kit.go.ldflags
    assert (SOURCES / kit.go.source / "go.sum").read_text()
