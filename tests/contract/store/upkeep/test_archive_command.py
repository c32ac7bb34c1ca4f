"""`python -m serving.store`: what it says, and its exit status."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving.core.uninterrupted import uninterrupted
from serving.store.__main__ import main
from serving.store.relational.database import Database
from serving.store.relational.migration import HEAD
from serving.store.relational.tables import meta
from tests.contract.store.upkeep.archive_state import States, same


def program(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving.store", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **env},
    )


async def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Runs the program in this process; returns its status and what it says."""
    status = await asyncio.to_thread(main, list(arguments))
    return status, *capsys.readouterr()


async def test_the_program_waits_migrates_backs_up_and_restores(
    new_state: States, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = new_state()
    config = tmp_path / "serving.json"
    secret = {"ref": "file:/none"}
    config.write_text(json.dumps({"store": state.store.model_dump(mode="json"), "key_secret": secret}))
    given = ("--config", str(config))
    early = await asyncio.to_thread(program, "wait", *given, "--timeout", "0")
    assert early.returncode == 1
    assert "error: not within 0 s:" in early.stderr.splitlines()[-1]
    for command in ("migrate", "wait"):
        status, _, said = await called(capsys, command, *given)
        assert status == 0, said
        assert said.rstrip().endswith(f"has format {HEAD}")
    store_id = await state.fill()
    status, path, said = await called(capsys, "backup", str(tmp_path), *given)
    assert status == 0, said
    status, _, said = await called(capsys, "restore", path.strip(), *given)
    assert status == 1
    assert "--force" in said
    new = new_state()
    where = ("--database", new.store.database, "--data", new.store.data)
    status, _, said = await called(capsys, "restore", path.strip(), *where)
    assert status == 0, said
    await same(state, new, store_id)


def test_the_command_reports_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["migrate"], "serving.json: No such file"),
        (["migrate", "--database", "sqlite:////x"], "must be given together"),
        (["backup", "x", "--database", "mysql://h/d", "--data", "/d"], "database"),
        (["restore", f"{tmp_path}/none", "--database", f"sqlite:///{tmp_path}/a.db", "--data", "/d"], "none"),
    ):
        assert main(arguments) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert words in said
    for usage, status in (([], 2), (["--help"], 0)):
        with pytest.raises(SystemExit) as e:
            main(usage)
        assert e.value.code == status
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("migrate", "wait", "backup", "restore", "Exit status"))


@uninterrupted
async def test_wait_ends_when_another_migrates(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "serving.store", "wait", "--database", url, "--data", "/none", stderr=subprocess.PIPE
    )
    assert waiting.stderr is not None
    assert b"waiting: " in await waiting.stderr.readline()
    async with Database(url) as database:
        assert await waiting.wait() == 0
        async with database.write() as connection:
            await connection.execute(meta.update().where(meta.c.key == "format").values(value="99"))
    assert await asyncio.to_thread(main, ["wait", "--database", url, "--data", "/none"]) == 1
    assert "format 99" in capsys.readouterr().err


def test_the_command_seals(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    key, folder = tmp_path / "key", tmp_path / "to"
    folder.mkdir()
    where = ["--database", f"sqlite:///{tmp_path}/a.db", "--data", str(tmp_path / "data")]
    assert main(["key", str(key)]) == 0
    assert main(["migrate", *where]) == 0
    capsys.readouterr()
    assert main(["backup", *where, "--key", str(key), str(folder)]) == 0
    path = capsys.readouterr().out.strip()
    assert main(["restore", *where, path]) == 1
    assert "name its key with --key" in capsys.readouterr().err
    assert main(["restore", *where, "--key", str(key), path]) == 0
    assert main(["restore", *where, "--key", "env:NO_SUCH_KEY", path]) == 1
    assert main(["key", str(key)]) == 1  # it is there
