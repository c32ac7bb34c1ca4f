import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.programs import Kit
from tools.binaries.download import Download
from tools.report import ToolError


def download(kit: Kit, **timeouts: float) -> Download:
    assert kit.release
    (archive,) = kit.release.archives.values()
    return Download(kit, kit.release.version, archive, **timeouts)


def test_the_binaries_are_taken_out_of_the_archive_and_run(vendor: Any, tmp_path: Path) -> None:
    vendor.offer("alpha", "alpha-helper", "LICENSE")
    download(vendor.kit()).make(tmp_path)
    assert subprocess.check_output([tmp_path / "alpha"], text=True) == "alpha version 1.2.3\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["alpha", "alpha-helper"]


def test_a_wrong_checksum_is_refused_before_anything_is_extracted(vendor: Any, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"SHA-256 is [0-9a-f]{64}, not the pinned 0{64}"):
        download(vendor.kit(sha256="0" * 64)).make(tmp_path)
    assert not (tmp_path / "alpha").exists()


@pytest.mark.parametrize(
    ("misbehaves", "said"),
    [
        (lambda vendor: setattr(vendor, "cut", 10), "peer closed connection"),
        (lambda vendor: setattr(vendor, "content", b"<html>sign in</html>"), "cannot be read"),
        (lambda vendor: setattr(vendor, "status", 404), "the server answered 404"),
        (lambda vendor: vendor.offer("alpha"), "the archive has no alpha-helper"),
        (lambda vendor: vendor.answering.clear(), "ReadTimeout"),
    ],
    ids=["truncated", "no archive", "an error", "no binary", "no answer"],
)
def test_a_misbehaving_server_is_named(misbehaves: Any, said: str, vendor: Any, tmp_path: Path) -> None:
    misbehaves(vendor)
    with pytest.raises(ToolError, match=said):
        download(vendor.kit(), read_timeout_s=0.1 if said == "ReadTimeout" else 60).make(tmp_path)


def test_a_network_that_refuses_is_named(vendor: Any, tmp_path: Path) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}/alpha.tar.gz"
        with pytest.raises(ToolError, match="ConnectError"):
            download(vendor.kit(url=url)).make(tmp_path)
