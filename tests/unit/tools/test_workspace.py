"""Pulumi's provider of a cloud: taken where it is, obtained where it is not, and what is said when it cannot be."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from tools.report import ToolError
from tools.stack import workspace
from tools.stack.backend import Backend
from tools.stack.workspace import Workspace

Asked = list[tuple[str, ...]]
KEY = "awskms://alias/state?region=eu-central-1"


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


@pytest.fixture
def shared(asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A stack whose state is to be in a bucket, in a checkout of its own."""
    monkeypatch.setattr(workspace, "CHECKOUT", tmp_path)
    monkeypatch.setattr(workspace, "_STACKS", tmp_path / "stacks")
    return Workspace("mine", {}, Backend("s3://state", KEY))


@pytest.mark.parametrize(
    "settings",
    ["config: {}\n", f"secretsprovider: {KEY}\nencryptedkey: a\nconfig: {{headrace:token: {{secure: b}}}}\n"],
)
def test_a_new_stack_has_the_key_of_its_configuration(settings: str, shared: Workspace, asked: Asked) -> None:
    """If the file names it already, as after `purge`, too: else Pulumi replaces it by a passphrase."""
    shared.own_settings.write_text(settings)
    shared._init()
    assert asked == [("stack", "init", "mine", "--secrets-provider", KEY)]


@pytest.mark.parametrize("own", ["encryptionsalt: a\n", "secretsprovider: gcpkms://other\nencryptedkey: a\n", ""])
def test_secrets_of_another_key_are_not_lost(own: str, shared: Workspace, asked: Asked) -> None:
    shared.own_settings.write_text(f"{own}config: {{headrace:token: {{secure: b}}}}\n")
    with pytest.raises(ToolError, match="has secrets that another key encrypts"):
        shared._init()
    assert asked == []
