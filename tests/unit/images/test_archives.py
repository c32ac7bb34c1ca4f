"""What is inside an image archive, and archives made from others."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tools.images import sbom
from tools.images.content import open_image
from tools.images.layer import ArchiveError
from tools.images.oci import (
    ImageConfig,
    archive_folder,
    image_manifest,
    index_entries,
    read_blob,
    relabel,
    without_layers,
    write_archive,
)

NAME = "registry.example/team/app:1"
STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc (2.36)
Version: 2.36-9

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


def layer(file: Path, entries: dict[str, bytes | str | None]) -> Path:
    """Writes a layer: bytes are a file, a string is a symbolic link's target, None is a folder."""
    with tarfile.open(file, "w") as tar:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            if content is None:
                entry.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
            else:
                entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content) if isinstance(content, bytes) else None)
    return file


def test_upper_layers_replace_and_delete_files(tmp_path: Path) -> None:
    below = layer(
        tmp_path / "1.tar",
        {
            "usr/bin": None,
            "bin": "usr/bin",
            "usr/bin/a": b"old",
            "usr/bin/b": b"b",
            "d": None,
            "d/x": b"x",
            "e/y": b"y",
        },
    )
    above = layer(
        tmp_path / "2.tar",
        {
            "usr/bin/a": b"new",
            "usr/bin/.wh.b": b"",
            "usr/bin/c": "../../bin/a",
            "d": "e",
            "e/.wh..wh..opq": b"",
            "e/z": b"z",
        },
    )
    write_archive(tmp_path / "a.tar", NAME, [below, above])
    with open_image(tmp_path / "a.tar") as content:
        assert set(content.files) == {"usr/bin", "bin", "usr/bin/a", "usr/bin/c", "d", "e/z"}
        assert content.read_file("usr/bin/a") == content.read_file("bin/a") == content.read_file("bin/c") == b"new"
        assert content.read_file("d/z") == b"z"
        with pytest.raises(KeyError):
            content.read_file("usr/bin/b")


def test_compressed_layers_are_refused(tmp_path: Path) -> None:
    layer(tmp_path / "1.tar", {"a": b"a"})
    with tarfile.open(tmp_path / "1.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "1.tar", "a")
    write_archive(tmp_path / "a.tar", NAME, [tmp_path / "1.tar.gz"])
    with pytest.raises(ArchiveError, match="compressed"), open_image(tmp_path / "a.tar"):
        pass


def python_package(folder: str, name: str, version: str, *more: str) -> dict[str, bytes | str | None]:
    fields = [f"Name: {name}", f"Version: {version}", *more]
    path = f"{folder}/{name.lower()}-{version}.dist-info"
    return {f"{path}/METADATA": "\n".join(fields).encode(), f"{path}/RECORD": b"x"}


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    site = "usr/local/lib/python3.11/dist-packages"
    files: dict[str, bytes | str | None] = {
        "var/lib/dpkg/status": STATUS.encode(),
        "usr/share/doc/libc6/copyright": b"Files: *\nLicense: LGPL-2.1+\n\nLicense: GPL-2+\n text\n",
        **python_package(site, "Foo.Bar", "1.0", "License-Expression: MIT OR Apache-2.0"),
        **python_package(site, "old", "2", "Classifier: License :: OSI Approved :: BSD License", "License: long text"),
        **python_package(f"{site}/ray/vendored", "old", "2"),
    }
    write_archive(tmp_path / "app.tar", NAME, [layer(tmp_path / "l.tar", files)], ImageConfig(labels={"a": "b"}))
    return tmp_path / "app.tar"


def test_the_bill_of_materials_lists_all_packages(packed: Path, tmp_path: Path) -> None:
    assert sbom.write(packed, tmp_path / "bill.json", NAME) == 4
    text = (tmp_path / "bill.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    found = {each["purl"]: each for each in bill["components"]}
    assert set(found) == {"pkg:deb/debian/libc6@2.36-9?arch=amd64", "pkg:pypi/foo-bar@1.0", "pkg:pypi/old@2"}
    assert found["pkg:pypi/foo-bar@1.0"]["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    libc = found["pkg:deb/debian/libc6@2.36-9?arch=amd64"]
    assert {each["license"]["name"] for each in libc["licenses"]} == {"LGPL-2.1+", "GPL-2+"}
    assert libc["properties"] == [{"name": "headrace:source", "value": "glibc"}]
    assert bill["metadata"]["component"]["hashes"][0]["content"] == index_entries(packed)[0]["digest"].split(":")[1]
    sbom.write(packed, tmp_path / "again.json", NAME)
    assert (tmp_path / "again.json").read_text() == text


def exported(tmp_path: Path) -> bytes:
    """Returns the root of the packed image as `docker export` writes it: one tar of what all layers show."""
    return (tmp_path / "l.tar").read_bytes()


def test_the_bill_of_a_root_file_system_is_that_of_the_image(packed: Path, tmp_path: Path) -> None:
    digest = index_entries(packed)[0]["digest"]
    sbom.write(packed, tmp_path / "bill.json", NAME)
    (tmp_path / "exported").write_bytes(exported(tmp_path))
    command = [sys.executable, "-m", "tools.images", "bill", f"{NAME}@{digest}", "--output", tmp_path / "exported.json"]
    with (tmp_path / "exported").open("rb") as root:
        done = subprocess.run(command, stdin=root, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}/exported.json lists 4 packages\n"
    assert (tmp_path / "exported.json").read_text() == (tmp_path / "bill.json").read_text()


def test_a_bill_reads_licences_through_links_of_a_root(tmp_path: Path) -> None:
    files: dict[str, bytes | str | None] = {
        "var/lib/dpkg/status": STATUS.encode(),
        "usr/share/doc/libc6": "glibc",
        "usr/share/doc/glibc/copyright": b"License: LGPL-2.1+\n",
        "usr/share/doc/glibc/large": b"x",
    }
    root = io.BytesIO(layer(tmp_path / "l.tar", files).read_bytes())
    assert sbom.write_of_root(root, tmp_path / "bill.json", f"{NAME}@sha256:{'0' * 64}") == 1
    assert "LGPL-2.1+" in (tmp_path / "bill.json").read_text()


def test_no_bill_is_written_of_what_is_no_image(packed: Path, tmp_path: Path) -> None:
    root, out, reference = exported(tmp_path), tmp_path / "bill.json", f"{NAME}@sha256:{'0' * 64}"
    with pytest.raises(ArchiveError, match="not a whole tar file"):
        sbom.write_of_root(io.BytesIO(root[:700]), out, reference)
    with pytest.raises(ArchiveError, match="has no /var/lib/dpkg/status"):
        sbom.write_of_root(io.BytesIO(layer(tmp_path / "o.tar", {"etc": None}).read_bytes()), out, reference)
    with pytest.raises(ArchiveError, match="REPOSITORY:TAG@sha256:DIGEST"):
        sbom.write_of_root(io.BytesIO(root), out, NAME)
    assert not out.exists()


def test_an_image_without_its_layers_has_the_same_name_and_digest(packed: Path, tmp_path: Path) -> None:
    thin = tmp_path / "thin.tar"
    without_layers(packed, thin)
    assert index_entries(thin) == index_entries(packed)
    manifest = image_manifest(thin)
    assert manifest == image_manifest(packed)
    assert json.loads(read_blob(thin, manifest["config"]["digest"]))["os"] == "linux"
    with pytest.raises(ArchiveError):
        read_blob(thin, manifest["layers"][0]["digest"])


def test_relabelled_image_has_the_same_layers_and_another_digest(packed: Path, tmp_path: Path) -> None:
    digest = relabel(packed, tmp_path / "v2.tar", "localhost/app:2", {"version": "2"})
    assert (
        [digest]
        == [entry["digest"] for entry in index_entries(tmp_path / "v2.tar")]
        != [index_entries(packed)[0]["digest"]]
    )
    before, after = image_manifest(packed), image_manifest(tmp_path / "v2.tar")
    assert after["layers"] == before["layers"]
    config = json.loads(read_blob(tmp_path / "v2.tar", after["config"]["digest"]))
    assert config["config"]["Labels"] == {"a": "b", "version": "2"}
    with open_image(tmp_path / "v2.tar") as content:
        assert "var/lib/dpkg/status" in content.files
    assert relabel(packed, tmp_path / "v3.tar", "localhost/app:2", {"version": "2"}) == digest


def test_folder_becomes_an_archive(packed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dir"
    folder.mkdir()
    with tarfile.open(packed) as tar:
        for member in tar.getmembers():
            if member.name.startswith("blobs/") and (blob := tar.extractfile(member)):
                (folder / Path(member.name).name).write_bytes(blob.read())
    (folder / index_entries(packed)[0]["digest"].removeprefix("sha256:")).rename(folder / "manifest.json")
    assert archive_folder(folder, tmp_path / "joined.tar", NAME) == index_entries(packed)[0]["digest"]
    assert (tmp_path / "joined.tar").read_bytes() == packed.read_bytes()
