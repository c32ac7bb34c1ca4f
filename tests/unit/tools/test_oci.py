import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from tools.images.layer import EPOCH_S, ArchiveError, Layer, pack
from tools.images.oci import IMAGE_NAME, ImageConfig, index_entries, read_blob, rename, write_archive, write_bundle

NAME = "registry.example/team/app:1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/run").write_text("#!/bin/sh\n")
    (folder / "bin/run").chmod(0o755)
    (folder / "secret").write_text("s")
    (folder / "secret").chmod(0o600)
    os.link(folder / "bin/run", folder / "bin/walk")
    (folder / "link").symlink_to("bin/run")
    os.mkfifo(folder / "pipe")
    return folder


def entries(tar: bytes | Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(tar if isinstance(tar, bytes) else tar.read_bytes())) as opened:
        return {member.name: member for member in opened.getmembers()}


def test_a_layer_is_a_sorted_copy_of_the_folder(root: Path, tmp_path: Path) -> None:
    pack(Layer(root, "/opt/app", owner=(10001, 10002)), tmp_path / "layer.tar")
    found = entries(tmp_path / "layer.tar")
    files = ["bin", "bin/run", "bin/walk", "link", "secret"]
    assert list(found) == ["opt", "opt/app", *(f"opt/app/{file}" for file in files)]
    assert {(entry.uid, entry.gid, entry.mtime, entry.uname) for entry in found.values()} == {
        (10001, 10002, EPOCH_S, "")
    }
    assert (found["opt/app/bin/walk"].islnk(), found["opt/app/bin/walk"].linkname) == (True, "opt/app/bin/run")
    assert (found["opt/app/link"].issym(), found["opt/app/link"].linkname) == (True, "bin/run")
    assert (found["opt/app/secret"].mode, found["opt/app/bin/run"].mode) == (0o600, 0o755)


def test_a_layer_may_be_one_file_with_its_mode(root: Path, tmp_path: Path) -> None:
    pack(Layer(root / "secret", "/usr/bin/tool", mode=0o755), tmp_path / "layer.tar")
    found = entries(tmp_path / "layer.tar")
    assert list(found) == ["usr", "usr/bin", "usr/bin/tool"]
    assert (found["usr/bin/tool"].mode, found["usr/bin/tool"].uid) == (0o755, 0)


def test_the_same_content_is_the_same_image(root: Path, tmp_path: Path) -> None:
    first = write_archive(tmp_path / "1.tar", NAME, [root], ImageConfig(entrypoint=["/bin/run"]))
    (root / "secret").touch()
    second = write_archive(tmp_path / "2.tar", NAME, [root], ImageConfig(entrypoint=["/bin/run"]))
    assert first == second
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    (root / "secret").write_text("t")
    assert write_archive(tmp_path / "3.tar", NAME, [root], ImageConfig(entrypoint=["/bin/run"])) != first
    assert sorted(file.name for file in tmp_path.iterdir()) == ["1.tar", "2.tar", "3.tar", "root"]


def test_archives_describe_their_image(root: Path, tmp_path: Path) -> None:
    archive = tmp_path / "app.tar"
    config = ImageConfig(entrypoint=["/bin/run"], env={"A": "b=c"}, user="10001:10001")
    digest = write_archive(archive, NAME, [root, Layer(root / "secret", "/etc/s")], config, {"note": "n"})
    (entry,) = index_entries(archive)
    assert (entry["digest"], entry["annotations"][IMAGE_NAME]) == (digest, NAME)
    manifest = json.loads(read_blob(archive, digest))
    assert manifest["annotations"] == {"note": "n"}
    document = json.loads(read_blob(archive, manifest["config"]["digest"]))
    assert document["config"] == {"User": "10001:10001", "Env": ["A=b=c"], "Entrypoint": ["/bin/run"]}
    assert document["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert list(entries(read_blob(archive, manifest["layers"][1]["digest"]))) == ["etc", "etc/s"]


def test_a_bundle_holds_each_blob_once_and_each_image_by_name(root: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_archive(tmp_path / f"{name}.tar", f"localhost/{name}:1", [root], ImageConfig(cmd=[name]))
    bundle = tmp_path / "bundle.tar"
    digests = write_bundle(bundle, [tmp_path / "a.tar", tmp_path / "b.tar"])
    assert list(digests) == ["localhost/a:1", "localhost/b:1"]
    with tarfile.open(bundle) as tar:
        blobs = [name for name in tar.getnames() if name.startswith("blobs/")]
    assert len(blobs) == len(set(blobs)) == 5  # two manifests, two configurations and the layer
    assert {entry["digest"] for entry in index_entries(bundle)} == set(digests.values())


def test_two_images_of_one_name_are_refused(root: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_archive(tmp_path / f"{name}.tar", NAME, [root], ImageConfig(cmd=[name]))
    with pytest.raises(ArchiveError, match=f"two different images are named {NAME}"):
        write_bundle(tmp_path / "bundle.tar", [tmp_path / "a.tar", tmp_path / "b.tar"])
    assert not (tmp_path / "bundle.tar").exists()


def test_a_renamed_image_has_the_same_digest(root: Path, tmp_path: Path) -> None:
    digest = write_archive(tmp_path / "app.tar", NAME, [root])
    assert rename(tmp_path / "app.tar", tmp_path / "new.tar", "localhost/other:2") == digest
    (entry,) = index_entries(tmp_path / "new.tar")
    assert entry["annotations"][IMAGE_NAME] == "localhost/other:2"
    assert read_blob(tmp_path / "new.tar", digest)


@pytest.mark.parametrize("name", ["app", "registry:5000/app", f"app@sha256:{'0' * 64}"])
def test_a_name_without_a_tag_is_refused(name: str, root: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="must end in a tag"):
        write_archive(tmp_path / "app.tar", name, [root])
    assert not (tmp_path / "app.tar").exists()


def test_invalid_archives_are_rejected(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="is not an OCI archive"):
        index_entries(root / "secret")
    with pytest.raises(ArchiveError, match="is not an OCI archive"):
        index_entries(tmp_path / "absent")
    pack(Layer(root), tmp_path / "layer.tar")
    with pytest.raises(ArchiveError, match="is not an OCI archive"):
        index_entries(tmp_path / "layer.tar")
    with pytest.raises(ArchiveError, match="neither a folder nor a tar file"):
        write_archive(tmp_path / "app.tar", NAME, [root / "secret"])
    with pytest.raises(ArchiveError, match="does not exist"):
        write_archive(tmp_path / "app.tar", NAME, [Layer(tmp_path / "absent")])
