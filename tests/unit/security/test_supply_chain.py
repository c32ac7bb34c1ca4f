"""What the stack is made of: pinned by hash, running nothing by being installed, and listed in a bill."""

from __future__ import annotations

import json
import re
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tools import bill, licences

ROOT = Path(__file__).parents[3]
SHARED_GROUPS = sorted((ROOT / "requirements").glob("*.txt"))
RUNS_CODE = {
    "distutils-precedence.pth": "of setuptools, which every environment has: chooses which distutils is imported",
}
"""`.pth` files that run code, and why they may."""


def test_files_are_there_to_be_checked():
    assert {"serving.txt", "infra.txt", "dev.txt", "vllm.txt"} < {file.name for file in SHARED_GROUPS}


@pytest.mark.parametrize("file", SHARED_GROUPS, ids=lambda file: file.name)
def test_every_requirement_has_one_version_and_its_hashes(file):
    entries = re.sub(r"\s*\\\n\s+", " ", file.read_text()).splitlines()
    assert entries
    for entry in entries:
        assert re.fullmatch(r"[a-z0-9.-]+(\[[a-z0-9,-]+\])?==[^\s;]+( ; [^#]+?)?( --hash=sha256:[0-9a-f]{64})+", entry)


@pytest.mark.parametrize(
    "folder",
    [
        "tests/contract/routes/javascript",
        "tests/npm/azurite",
        "tests/npm/chromium",
        "tests/npm/logql",
        "tests/npm/oidc",
        "ui",
    ],
)
def test_every_package_of_javascript_has_its_hash(folder):
    packages = json.loads((ROOT / folder / "package-lock.json").read_text())["packages"]
    named = [package for name, package in packages.items() if name]
    assert named
    assert all(package.get("integrity", "").startswith("sha512-") for package in named)


def test_every_go_module_is_in_the_sums():
    modules = sorted((ROOT / "tools" / "go").rglob("go.mod"))
    assert modules
    for module in modules:
        text = module.read_text()
        replaced = {old: (new, version) for old, new, version in re.findall(r"^\s(\S+) => (\S+) (v\S+)", text, re.M)}
        needs = re.findall(r"^\s*(?:require )?([\w./-]+\.[\w./-]+) (v\S+)", text, re.M)
        sums = module.with_name("go.sum").read_text()
        assert needs
        for name, version in (replaced.get(need[0], need) for need in needs):
            assert f"{name} {version}/go.mod h1:" in sums, module


def test_no_pth_file_runs_code():
    """Each line of one that begins with `import` would run whenever Python starts, whatever is imported later."""
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    files = {file for folder in folders for file in Path(folder).glob("*.pth")}
    running = {file.name for file in files if re.search(r"^import[ \t]", file.read_text(), flags=re.MULTILINE)}
    assert running <= set(RUNS_CODE), "a package runs code whenever Python starts: look at it, then say why it may"
    assert "site" in sys.modules  # they were looked for where Python reads them
    assert folders <= set(sys.path)


def test_no_package_brings_code_that_python_runs_by_itself():
    own = ("sitecustomize.py", "usercustomize.py")
    brought = [
        f"{each.name}: {path}" for each in metadata.distributions() for path in each.files or () if str(path) in own
    ]
    assert not brought


def test_the_bill_lists_every_package_and_follows_its_schema(tmp_path):
    assert bill.main([str(tmp_path / "bill.json")]) == 0
    text = (tmp_path / "bill.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    listed = {each["name"]: each for each in json.loads(text)["components"]}
    for name in licences.licences_by_package():
        assert listed[name]["version"] == metadata.version(name)
        assert unquote(listed[name]["purl"]) == f"pkg:pypi/{name}@{metadata.version(name)}"
        assert listed[name].get("licenses") or name in licences.REASONS
    bill.main([str(tmp_path / "again.json")])
    assert (tmp_path / "again.json").read_text() == text
