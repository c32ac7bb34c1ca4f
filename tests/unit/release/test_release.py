"""What a release is checked for, what it says, and how image and chart get into a registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.binaries import find
from tools.images.oci import ImageConfig, index_entries, write_archive
from tools.images.push import push
from tools.release import __main__ as release
from tools.release import chart, versions
from tools.report import ToolError

ROOT = Path(__file__).parents[3]
CHANGELOG = """# Changelog

## [0.2.0] - 2026-01-31

### Added

- Two.

## [0.1.0] - Unreleased

- One.

## [0.0.1] - 2025-01-31
"""
DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "charts" / "headrace").mkdir(parents=True)
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    of_version(tmp_path, "0.2.0")
    return tmp_path


def of_version(root, version, chart=None):
    (root / "pyproject.toml").write_text(f'[project]\nname = "headrace"\nversion = "{version}"\n')
    lines = f"version: {chart or version}\nappVersion: {chart or version}\n"
    (root / "charts" / "headrace" / "Chart.yaml").write_text(lines)


def program(file, script):
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def test_a_tag_that_everything_agrees_with(checkout):
    assert versions.check(checkout, "v0.2.0") == "0.2.0"


@pytest.mark.parametrize("tag", ["0.2.0", "v0.2.1", "v0.2.0-rc1", "v0.2.00", ""])
def test_another_tag_is_refused(checkout, tag):
    with pytest.raises(ToolError, match=r"is not v0\.2\.0, the version in"):
        versions.check(checkout, tag)


def test_a_chart_of_another_version_is_refused(checkout):
    of_version(checkout, "0.2.0", chart="0.2.0-old")
    with pytest.raises(ToolError, match=r"^version in .* is not 0\.2\.0; appVersion in .* is not 0\.2\.0$"):
        versions.check(checkout, "v0.2.0")


@pytest.mark.parametrize(
    ("version", "told"),
    [("0.1.0", "'Unreleased', which is not a date"), ("0.3.0", "no section 0.3.0"), ("0.0.1", "nothing under 0.0.1")],
)
def test_a_version_that_the_changelog_does_not_release_is_refused(checkout, version, told):
    of_version(checkout, version)
    with pytest.raises(ToolError, match=told):
        versions.check(checkout, f"v{version}")


def test_notes_contain_only_the_versions_section(checkout):
    assert versions.section(checkout, "0.2.0") == ("2026-01-31", "### Added\n\n- Two.")
    assert versions.section(checkout, "0.1.0") == ("Unreleased", "- One.")


def test_this_checkout_has_notes_of_its_version(capsys):
    version = next(line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version"))
    assert release.main(["notes", version.split('"')[1]]) == 0
    assert capsys.readouterr().out.startswith("### ")


def test_errors_are_one_line(capsys):
    assert release.main(["check", "v99.0.0"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: the tag v99.0.0 is not v")
    assert err.count("\n") == 1


def test_the_chart_is_packed_by_helm(tmp_path):
    archive = chart.pack(ROOT, tmp_path / "out")
    assert archive.parent == tmp_path / "out"
    assert archive.name.startswith("headrace-")
    assert archive.read_bytes()[:2] == b"\x1f\x8b"


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_pushed_chart_is_named_by_its_digest(tmp_path, monkeypatch, stream):
    script = f'echo "$@" > {tmp_path}/asked; printf "Pushed: it\\nDigest: {DIGEST}\\n" >&{stream}'
    helm = program(tmp_path / "helm", script)
    monkeypatch.setattr(find, "ensure", lambda names: {"helm": helm})
    archive = tmp_path / "headrace-0.2.0-rc.1.tgz"
    assert chart.push(archive, "ghcr.io/owner/charts") == f"ghcr.io/owner/charts/headrace@{DIGEST}"
    assert (tmp_path / "asked").read_text() == f"push {archive} oci://ghcr.io/owner/charts\n"


@pytest.mark.parametrize(
    ("script", "told"), [("echo denied >&2; exit 1", "helm push failed: denied"), ("echo ok", "contains no digest")]
)
def test_a_chart_that_cannot_be_pushed(tmp_path, monkeypatch, script, told):
    helm = program(tmp_path / "helm", script)
    monkeypatch.setattr(find, "ensure", lambda names: {"helm": helm})
    with pytest.raises(ToolError, match=told):
        chart.push(tmp_path / "headrace-0.2.0.tgz", "ghcr.io/owner/charts")


@pytest.fixture
def image(tmp_path):
    write_archive(tmp_path / "image.tar", "headrace/serving:built", [], ImageConfig())
    return tmp_path / "image.tar"


def test_a_pushed_image_has_the_digest_of_its_archive(image, tmp_path, monkeypatch):
    program(tmp_path / "skopeo", f'echo "$@" > {tmp_path}/asked')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (entry,) = index_entries(image)
    assert push(image, "ghcr.io/owner/serving:0.2.0") == f"ghcr.io/owner/serving@{entry['digest']}"
    asked = (tmp_path / "asked").read_text()
    assert asked == f"copy --preserve-digests oci-archive:{image} docker://ghcr.io/owner/serving:0.2.0\n"


@pytest.mark.parametrize("name", ["ghcr.io/owner/serving", "localhost:5000/serving"])
def test_an_image_without_a_tag_is_not_pushed(image, name):
    with pytest.raises(ToolError, match="does not end with a tag"):
        push(image, name)


def test_an_image_that_cannot_be_pushed(image, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="Debian's package skopeo"):
        push(image, "ghcr.io/owner/serving:0.2.0")
    program(tmp_path / "skopeo", "echo unauthorized >&2; exit 1")
    with pytest.raises(ToolError, match=r"serving:0\.2\.0 cannot be pushed: unauthorized"):
        push(image, "ghcr.io/owner/serving:0.2.0")
