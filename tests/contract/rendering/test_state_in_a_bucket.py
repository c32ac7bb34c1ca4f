"""The state of a stack in a bucket, encrypted by a key: moved there from a checkout, read from another, and locked.

An S3 service and a KMS stand in for those of AWS; Pulumi is the real one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pyarrow import fs

from tests.servers.object_stores import S3
from tools.binaries import find
from tools.report import ToolError
from tools.stack import backend, migration, workspace
from tools.stack.__main__ import main
from tools.stack.workspace import Workspace

STACK = "mine"
ROOT = f"urn:pulumi:{STACK}::headrace::pulumi:pulumi:Stack::headrace-{STACK}"
SECRET = {
    "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
    "plaintext": json.dumps("of the state"),
}
SETTINGS = """\
# What the stack is.
config:
  headrace:target: kubeconfig # on a cluster
"""

Checkout = Callable[[str], Path]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """Goes to a checkout by its name, and makes it if it does not exist: with an own home, and so an own passphrase."""
    binaries = find.bin_dir(("pulumi",))
    monkeypatch.setattr(find, "bin_dir", lambda _: binaries)
    monkeypatch.setattr(workspace, "_install_kubernetes_provider", lambda: None)
    monkeypatch.setitem(workspace.VARIABLES, "PULUMI_HOME", str(tmp_path / "pulumi-home"))
    for name in (backend.URL, *backend.PASSPHRASES):
        monkeypatch.delenv(name, raising=False)

    def go(name: str) -> Path:
        folder = tmp_path / name
        home = folder / ".headrace"
        if not folder.exists():
            home.mkdir(parents=True)
            (folder / "Pulumi.yaml").write_text("{name: headrace, runtime: python}\n")
            (folder / f"Pulumi.{STACK}.yaml").write_text(SETTINGS)
        for module in (backend, migration, workspace):
            monkeypatch.setattr(module, "HOME", home)
            monkeypatch.setattr(module, "LOCAL", home / "pulumi")
        for each in (migration, workspace):
            monkeypatch.setattr(each, "CHECKOUT", folder)
        monkeypatch.setattr(workspace, "_STACKS", home / "pulumi/.pulumi/stacks/headrace")
        return folder / f"Pulumi.{STACK}.yaml"

    return go


@pytest.fixture
def bucket(s3: S3, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The setting `headrace:backend` for the S3 service and its KMS."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", s3.endpoint)
    query = f"region=us-east-1&endpoint={s3.endpoint}&use_path_style=true"
    return {
        "url": f"s3://{s3.bucket}?{query}&prefix=state-{s3.port}/",
        "secrets_provider": f"awskms://{s3.kms_key}?region=us-east-1",
    }


def add(file: Path, setting: dict[str, str]) -> None:
    file.write_text(file.read_text().replace(SETTINGS, f"{SETTINGS}  headrace:backend: {json.dumps(setting)}\n"))


def put_state(stack: Workspace, folder: Path) -> None:
    """Gives a stack a state, as an `up` would."""
    resource = {"urn": ROOT, "custom": False, "type": "pulumi:pulumi:Stack", "outputs": {"api_key": SECRET}}
    exported = json.loads(stack.pulumi_output("stack", "export", "--stack", STACK))
    exported["deployment"]["resources"] = [resource]
    (folder / "import.json").write_text(json.dumps(exported))
    stack.pulumi_output("stack", "import", "--stack", STACK, "--file", str(folder / "import.json"))


def test_a_state_moves_into_a_bucket(
    checkout: Checkout, bucket: dict[str, str], s3: S3, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = checkout("first")
    here = Workspace.prepare(STACK)
    put_state(here, tmp_path)
    here.pulumi("config", "set", "--secret", "headrace:token", "of the settings")
    assert here.version() == ""
    add(file, bucket)

    # The bucket has no state yet: a new one there would create everything a second time.
    with pytest.raises(ToolError, match=f"python -m tools.stack --stack {STACK} migrate"):
        Workspace.prepare(STACK)
    there = Workspace.prepare(STACK, create=False)
    migration.migrate(there)

    # The stack's file keeps its comments, and names the key; nothing of the old passphrase is left.
    text = file.read_text()
    assert "# What the stack is." in text
    settings = yaml.safe_load(text)
    assert settings["secretsprovider"] == bucket["secrets_provider"]
    assert "encryptedkey" in settings
    assert "encryptionsalt" not in settings
    assert not there.is_in_checkout
    with pytest.raises(ToolError, match="this checkout has no state"):
        migration.migrate(there)

    # Another checkout has the same secrets, with the key alone.
    other = checkout("second")
    other.write_text(text)
    second = Workspace.prepare(STACK)
    assert second.outputs() == {"api_key": "of the state"}
    assert second.settings()["token"] == "of the settings"
    assert "of the state" not in second.pulumi_output("stack", "export", "--stack", STACK)

    # Who writes the state changes its version, by which others notice.
    version = second.version()
    assert version == second.version()
    put_state(second, tmp_path)
    assert second.version() != version

    # Of two writers, one waits.
    store = fs.S3FileSystem(
        access_key=s3.key,
        secret_key=s3.secret,
        endpoint_override=f"127.0.0.1:{s3.port}",
        scheme="http",
        region="us-east-1",
    )
    folder = f"{s3.bucket}/state-{s3.port}/.pulumi/locks/organization/headrace/{STACK}"
    with store.open_output_stream(f"{folder}/other.json") as lock:
        held = {"pid": 42, "username": "ann", "hostname": "laptop", "timestamp": "2026-01-02T03:04:05Z"}
        lock.write(json.dumps(held).encode())
    capfd.readouterr()
    assert second.pulumi("refresh", "--yes", "--skip-preview", "--non-interactive") != 0
    said = capfd.readouterr().err
    assert "ann@laptop (process 42) has been changing stack 'mine' since 2026-01-02T03:04:05Z" in said
    assert "python -m tools.stack --stack mine pulumi cancel" in said


def test_nothing_is_made_in_a_cloud_by_up_without_a_bucket(
    checkout: Checkout, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = checkout("first")
    file.write_text(file.read_text().replace("kubeconfig", "aws"))
    assert main(["--stack", STACK, "up", "--yes"]) == 1
    assert f"the state of stack '{STACK}' would be in this checkout alone" in capsys.readouterr().err
    assert not (tmp_path / "first/.headrace/pulumi").exists()  # so that a bucket can be named without a move


def test_a_new_stack_in_a_bucket_needs_a_key(checkout: Checkout, bucket: dict[str, str]) -> None:
    file = checkout("first")
    add(file, {"url": bucket["url"].replace("prefix=state", "prefix=other")})
    with pytest.raises(ToolError, match=r"headrace:backend\.secrets_provider: is missing"):
        Workspace.prepare(STACK)
