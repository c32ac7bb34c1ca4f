"""A state that an earlier version wrote must still be destroyed by this one: names and tokens are for ever."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from infra.layout import CHECKOUT
from tools.binaries import find

STATES = sorted((Path(__file__).parent / "state").glob("*.json"))


@pytest.mark.parametrize("state", STATES, ids=lambda p: p.stem)
def test_a_kept_state_is_destroyed(state: Path, tmp_path: Path) -> None:
    project = yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text())
    del project["main"], project["config"]
    project["runtime"]["options"]["virtualenv"] = str(CHECKOUT / ".venv")
    project["plugins"]["providers"][0]["path"] = str(CHECKOUT / project["plugins"]["providers"][0]["path"])
    (tmp_path / "Pulumi.yaml").write_text(yaml.safe_dump(project))
    backend = tmp_path / "backend"
    backend.mkdir()
    secret = tmp_path / "state" / "secrets" / "api_key"
    secret.parent.mkdir(parents=True)
    secret.write_text("hr_kept-state-of-a-test")
    text = state.read_text()
    for name, path in (("STATE", tmp_path / "state"), ("TEMP", tmp_path / "t"), ("CHECKOUT", CHECKOUT)):
        text = text.replace(f"@{name}@", str(path))

    def pulumi(*arguments: str) -> str:
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={
                "PATH": f"{find.bin_dir(('pulumi',))}:{os.environ['PATH']}",
                "HOME": str(tmp_path),
                "PULUMI_HOME": str(tmp_path / "home"),
                "PULUMI_BACKEND_URL": f"file://{backend}",
                "PULUMI_CONFIG_PASSPHRASE": "test",
                "PULUMI_SKIP_UPDATE_CHECK": "true",
                "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            },
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pulumi("stack", "init", "kept")
    salt = yaml.safe_load((tmp_path / "Pulumi.kept.yaml").read_text())["encryptionsalt"]
    kept = json.loads(text)
    kept["deployment"]["secrets_providers"] = {"type": "passphrase", "state": {"salt": salt}}
    (tmp_path / "kept.json").write_text(json.dumps(kept))
    pulumi("stack", "import", "--stack", "kept", "--file", str(tmp_path / "kept.json"))
    exported = pulumi("stack", "export", "--stack", "kept")
    assert "hr_kept-state-of-a-test" not in exported, "the API key is encrypted in the state"
    pulumi("destroy", "--stack", "kept", "--yes", "--skip-preview")
    left = json.loads(pulumi("stack", "export", "--stack", "kept"))["deployment"].get("resources", [])
    assert left == []
    assert not secret.exists()
