import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from infra.programs import CLUSTER_KITS, GPU_KITS, KITS, GoModule, Kit
from tools.binaries import find
from tools.report import ToolError


def run(file: Path) -> str:
    done = subprocess.run([file], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def test_programs_on_path_are_preferred(vendor: Any, put: Callable[..., Path]) -> None:
    expected = {name: put(name, "1.4.0") for name in ("alpha", "alpha-helper")}
    found = find.obtain(vendor.kit())
    assert (found.version, found.source, found.files) == ("1.4.0", "path", expected)
    assert vendor.requests == 0


def test_one_on_path_is_passed_over_on_demand(vendor: Any, put: Callable[..., Path]) -> None:
    for name in ("alpha", "alpha-helper"):
        put(name, "1.4.0")
    assert [find.obtain(vendor.kit(), own=True).source for _ in range(2)] == ["download", "cache (download)"]
    assert find.obtain(vendor.kit()).source == "path"


@pytest.mark.parametrize("version", ["1.1.9", "2.0.0", "unknown"])
def test_another_version_on_path_is_passed_over(vendor: Any, put: Callable[..., Path], version: str) -> None:
    put("alpha", version)
    put("alpha-helper", version)
    assert find.obtain(vendor.kit()).source == "download"


def test_a_kit_on_path_is_passed_over_unless_whole(vendor: Any, put: Callable[..., Path]) -> None:
    put("alpha", "1.4.0")
    found = find.obtain(vendor.kit())
    assert found.source == "download"
    assert {run(file) for file in found.files.values()} == {"alpha version 1.2.3\n"}


def test_helpers_are_found_next_to_the_target_of_a_link(
    vendor: Any, put: Callable[..., Path], tmp_path: Path, path_dir: Path
) -> None:
    home = tmp_path / "opt"
    helper = put("alpha-helper", "1.4.0", home)
    (path_dir / "alpha").symlink_to(put("alpha", "1.4.0", home))
    assert find.obtain(vendor.kit()).files == {"alpha": path_dir / "alpha", "alpha-helper": helper}


def test_downloads_are_cached(vendor: Any, path_dir: Path) -> None:
    first, second = find.obtain(vendor.kit()), find.obtain(vendor.kit())
    assert (first.source, second.source) == ("download", "cache (download)")
    assert first.files == second.files
    assert vendor.requests == 1


def test_concurrent_runs_obtain_a_kit_once(vendor: Any, path_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vendor.answering.clear()
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(find.obtain, vendor.kit()) for _ in range(4)]
        waiting, deadline = 0, time.monotonic() + 20
        while waiting < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
            waiting += capsys.readouterr().err.count("another process is obtaining it, waiting")
        vendor.answering.set()
        sources = sorted(run.result().source for run in runs)
    assert sources == ["cache (download)"] * 3 + ["download"]
    assert vendor.requests == 1


def test_damaged_cache_entries_are_replaced(vendor: Any, path_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = find.obtain(vendor.kit()).files["alpha"]
    file.write_text("#!/bin/sh\necho evil\n")
    assert find.find(vendor.kit()) is None
    assert find.obtain(vendor.kit()).source == "download"
    assert run(file) == "alpha version 1.2.3\n"
    assert f"alpha: {file.parent} is damaged; obtaining it again" in capsys.readouterr().err


def test_a_new_checksum_is_a_new_entry(vendor: Any, path_dir: Path) -> None:
    old = find.obtain(vendor.kit()).files["alpha"]
    vendor.offer("alpha", "alpha-helper", "more")
    assert find.obtain(vendor.kit()).files["alpha"] != old
    assert vendor.requests == 2


@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")
def test_go_builds_kits_that_cannot_be_downloaded(
    vendor: Any, go_module: GoModule, capsys: pytest.CaptureFixture[str]
) -> None:
    vendor.status = 403
    kit = vendor.kit(go=go_module)
    found = find.obtain(kit)
    assert (found.version, found.source) == ("1.2.9", "go build")
    assert run(found.files["alpha"]) == "alpha version 1.2.9\n"
    assert "alpha: no download: the server answered 403\n" in capsys.readouterr().err
    assert find.obtain(kit).source == "cache (go build)"


def test_unobtainable_tools_are_reported_with_an_install_hint(
    vendor: Any, go_module: GoModule, path_dir: Path, cache_root: Path
) -> None:
    vendor.status = 404
    with pytest.raises(ToolError) as raised:
        find.obtain(vendor.kit(go=go_module))
    assert str(raised.value) == (
        "alpha cannot be obtained (download: the server answered 404; go build: Go is not installed). "
        "Install it (>=1.2.0,<2.0.0, https://example.org/alpha) or Go (https://go.dev/dl/)"
    )
    assert [file.name for file in cache_root.iterdir()] == ["alpha.lock"]


def test_a_platform_without_a_checksum_has_no_download(vendor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kit = vendor.kit()
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert find.sources(kit) == []
    with pytest.raises(ToolError, match="riscv64 has no pinned download"):
        find.obtain(kit)


def test_a_folder_for_path_links_the_requested_tools(vendor: Any, path_dir: Path) -> None:
    kits = [vendor.kit()]
    assert list(find.ensure(["alpha-helper"], kits)) == ["alpha-helper"]
    files = find.ensure((), kits)
    assert list(files) == ["alpha", "alpha-helper"]
    folder = find.bin_dir(["alpha"], kits)
    assert folder == find.bin_dir((), kits)
    assert {file.name: file.resolve() for file in folder.iterdir()} == files
    with pytest.raises(ToolError, match="unknown tool beta; there is alpha, alpha-helper"):
        find.ensure(["alpha", "beta"], kits)


def test_our_own_folder_on_path_is_not_mistaken_for_an_installed_tool(
    vendor: Any, path_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = find.bin_dir((), [vendor.kit()])
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), str(path_dir)]))
    assert find.obtain(vendor.kit()).source == "cache (download)"
    assert find.bin_dir((), [vendor.kit()]) == folder


@pytest.mark.parametrize("kit", [*KITS, *CLUSTER_KITS, *GPU_KITS], ids=lambda kit: kit.name)
def test_pins_are_whole(kit: Kit) -> None:
    sources = [source for source in (kit.release, kit.go) if source]
    assert sources
    for source in sources:
        assert kit.at_least <= tuple(map(int, source.version.split("."))) < kit.below
    for archive in kit.release.archives.values() if kit.release else ():
        assert re.fullmatch(r"[0-9a-f]{64}", archive.sha256)
        assert archive.url.startswith("https://")
        assert kit.release
        assert kit.release.version in archive.url


def test_importing_the_pins_loads_nothing_heavy() -> None:
    code = "import sys; old = set(sys.modules); import infra.programs; print(*set(sys.modules) - old)"
    loaded = subprocess.check_output([sys.executable, "-I", "-c", code], text=True, env={**os.environ})
    assert not {"pulumi", "pydantic", "yaml", "httpx"} & {name.split(".")[0] for name in loaded.split()}
