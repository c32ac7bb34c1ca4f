"""Pulumi's provider of a cloud: taken where it is, obtained where it is not, and what is said when it cannot be."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from tools.report import ToolError
from tools.stack import workspace
from tools.stack.workspace import Workspace

Asked = list[tuple[str, ...]]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What Pulumi is asked; this checkout has no providers yet."""
    found: Asked = []
    monkeypatch.setattr(workspace, "HOME", tmp_path)
    monkeypatch.setattr(Workspace, "pulumi_output", lambda _, *arguments: found.append(arguments))
    return found


@pytest.mark.parametrize(("stack", "name"), [("aws", "aws"), ("gcp", "gcp"), ("azure", "azure-native")])
def test_the_provider_of_the_sdks_version_is_obtained(stack: str, name: str, asked: Asked, tmp_path: Path) -> None:
    Workspace(stack, {"PATH": str(tmp_path)})._install_cloud_provider()
    assert asked == [("plugin", "install", "resource", name, metadata.version(f"pulumi-{name}"))]


def test_an_existing_workspace_is_used(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / f"pulumi-home/plugins/resource-aws-v{metadata.version('pulumi-aws')}").mkdir(parents=True)
    Workspace("aws", {"PATH": str(tmp_path)})._install_cloud_provider()
    on_path = tmp_path / "pulumi-resource-gcp"
    on_path.touch(mode=0o755)
    Workspace("gcp", {"PATH": str(tmp_path)})._install_cloud_provider()
    assert asked == []


def test_offline_installation_is_explained(asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise ToolError("warning: retrying\nerror: no such host")

    monkeypatch.setattr(Workspace, "pulumi_output", refuse)
    with pytest.raises(ToolError) as raised:
        Workspace("aws", {"PATH": str(tmp_path)})._install_cloud_provider()
    assert str(raised.value).startswith("Pulumi's provider cannot be downloaded: no such host; put pulumi-resource-aws")
