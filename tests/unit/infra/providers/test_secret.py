import re
import stat
from pathlib import Path
from typing import Any

from infra.providers.secret import SecretProvider


def inputs(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"path": str(tmp_path / "secrets" / "key"), "reveal": False, "keep": False, "prefix": "hr_", **more}


def given(tmp_path: Path, value: str) -> dict[str, Any]:
    wanted = inputs(tmp_path, value=value)
    del wanted["prefix"]
    return wanted


def test_a_generated_secret_is_256_bits_that_only_the_owner_can_read(tmp_path: Path, said: Any) -> None:
    path, outputs = SecretProvider().create(inputs(tmp_path), said.task)
    assert re.fullmatch(r"hr_[A-Za-z0-9_-]{43}", Path(path).read_text())
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700
    assert "value" not in outputs
    assert Path(path).read_text() not in repr(outputs)
    SecretProvider().delete(path, outputs, said.task)
    assert not Path(path).exists()
    SecretProvider().delete(path, outputs, said.task)


def test_existing_files_are_adopted(tmp_path: Path, said: Any) -> None:
    path, outputs = SecretProvider().create(inputs(tmp_path, reveal=True), said.task)
    assert outputs["value"] == Path(path).read_text()
    assert SecretProvider().create(inputs(tmp_path, reveal=True), said.task) == (path, outputs)


def test_a_kept_secret_outlives_its_resource(tmp_path: Path, said: Any) -> None:
    path, outputs = SecretProvider().create(inputs(tmp_path, keep=True), said.task)
    SecretProvider().delete(path, outputs, said.task)
    assert Path(path).exists()


def test_a_given_value_is_written_and_restored_when_it_drifts(tmp_path: Path, said: Any) -> None:
    wanted = given(tmp_path, "theirs")
    path, outputs = SecretProvider().create(wanted, said.task)
    assert Path(path).read_text() == "theirs"
    assert SecretProvider().diff(outputs, wanted).changed == ()
    Path(path).write_text("changed")
    found = SecretProvider().read(path, outputs)
    assert "drifted" in SecretProvider().diff(found.outputs, wanted).changed
    SecretProvider().update(path, found.outputs, wanted, said.task)
    assert Path(path).read_text() == "theirs"


def test_readable_files_are_drift_and_fixed(tmp_path: Path, said: Any) -> None:
    path, outputs = SecretProvider().create(inputs(tmp_path), said.task)
    Path(path).chmod(0o644)
    found = SecretProvider().read(path, outputs)
    assert SecretProvider().diff(found.outputs, inputs(tmp_path)).changed == ("drifted",)
    SecretProvider().update(path, found.outputs, inputs(tmp_path), said.task)
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600


def test_a_missing_file_is_gone(tmp_path: Path, said: Any) -> None:
    path, outputs = SecretProvider().create(inputs(tmp_path), said.task)
    Path(path).unlink()
    assert SecretProvider().read(path, outputs).id is None


def test_the_value_is_a_secret_output() -> None:
    assert "value" in SecretProvider.secret_outputs
