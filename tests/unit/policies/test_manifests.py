from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from infra.policies.catalogue import RULES
from tests.unit.policies.whole import changed, whole
from tools.manifests import main


def test_manifests_without_fault_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "inner").mkdir()
    first, *others = whole()
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(first))
    (tmp_path / "inner" / "others.yml").write_text(
        yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": others})
    )
    assert main([str(tmp_path)]) == 0
    assert f"{len(whole())} objects: 0 violations" in capsys.readouterr().err


def test_violations_are_reported_with_a_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(yaml.safe_dump_all(changed("deployment", "spec/template/spec/hostNetwork", True)))
    assert main([str(file)]) == 1
    said = capsys.readouterr().out
    assert "mandatory: Deployment/headrace/exporter" in said
    assert RULES["no-host-access"].remediation in said


def test_an_advisory_rule_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(yaml.safe_dump_all(changed("claim", "spec/storageClassName", None)))
    assert main([str(file)]) == 0
    assert "advisory: PersistentVolumeClaim" in capsys.readouterr().out


@pytest.mark.parametrize(("text", "problem"), [("a: [", "is not valid YAML"), ("a: b", "not a Kubernetes object")])
def test_invalid_manifests_are_reported(
    text: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(text)
    assert main([str(file)]) == 1
    assert problem in capsys.readouterr().err


def test_missing_files_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == main([str(tmp_path / "none.yaml")]) == 1
    assert "no YAML files" in capsys.readouterr().err
