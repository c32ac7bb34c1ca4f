"""Archives that are damaged, cut, incomplete or sealed: what is refused loses nothing."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.security.audit import AuditLog
from serving.store.errors import StoreUnavailable
from serving.store.objects.sealed import Unreadable, new_key, read_key
from serving.store.upkeep import archive
from serving.store.upkeep.archive import BadArchive, NotEmpty, backup, restore
from tests.contract.store.upkeep.archive_state import ME, Filled, State


def edited(path: Path, edit: Callable[[dict[str, bytes]], None]) -> Path:
    """Writes an archive anew with other members."""
    with tarfile.open(path) as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}
    edit(members)
    out = path.with_name("edited.tar")
    with tarfile.open(out, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out


def _manifest(**changes: Any) -> Callable[[dict[str, bytes]], None]:
    def edit(members: dict[str, bytes]) -> None:
        members["manifest.json"] = json.dumps({**json.loads(members["manifest.json"]), **changes}).encode()

    return edit


def _climbing(members: dict[str, bytes]) -> None:
    manifest = json.loads(members["manifest.json"])
    note = next(m for m in manifest["members"] if m["name"].startswith("files/"))
    content = members.pop(note["name"])
    note["name"] = "files/../../evil"
    members[note["name"]] = content
    members["manifest.json"] = json.dumps(manifest).encode()


def _first(folder: str, members: dict[str, bytes]) -> str:
    return next(name for name in members if name.startswith(folder))


BROKEN: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "no end": (lambda m: m.pop("manifest.json"), "its end is missing"),
    "changed row": (lambda m: m.update({"database/files.jsonl": m["database/files.jsonl"] + b" "}), "files.jsonl"),
    "changed file": (lambda m: m.update({_first("files/", m): b"other"}), "differ from its manifest"),
    "missing file": (lambda m: m.pop(_first("files/", m)), "differ from its manifest"),
    "one more": (lambda m: m.update({"files/acme/file-x": b""}), "differ from its manifest"),
    "newer archive": (_manifest(archive=2), "archive has format 2"),
    "newer rows": (_manifest(schema_format=99), "rows have format 99"),
    "odd manifest": (lambda m: m.update({"manifest.json": b"{}"}), "damaged or incomplete"),
    "a name that climbs": (_climbing, "evil"),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_broken_archive_loses_nothing(filled: Filled, state: State, tmp_path: Path, case: str) -> None:
    edit, reason = BROKEN[case]
    archived, store_id = tmp_path / "a.tar", filled.store_id
    shutil.copy(filled.archive, archived)
    before = await state.rows(), state.contents(), state.search(store_id)
    with pytest.raises(BadArchive, match=reason):
        await state.load(edited(archived, edit), force=True)
    assert (await state.rows(), state.contents(), state.search(store_id)) == before


def test_every_truncation_is_refused(filled: Filled) -> None:
    whole = filled.archive.read_bytes()
    end = len(whole.rstrip(b"\0"))
    for size in [0, 1, 511, 512, 1000, *range(1024, end, max(1, end // 60)), end - 1]:
        with pytest.raises(BadArchive):
            archive.check(io.BytesIO(whole[:size]))
    archive.check(io.BytesIO(whole))


def test_flipped_bits_are_refused(filled: Filled) -> None:
    whole = filled.archive.read_bytes()
    with tarfile.open(filled.archive) as tar:
        offsets = [info.offset_data + info.size // 2 for info in tar if info.size]
    for offset in offsets:
        broken = bytearray(whole)
        broken[offset] ^= 1
        with pytest.raises(BadArchive):
            archive.check(io.BytesIO(bytes(broken)))


async def test_failed_backup_leaves_nothing(state: State, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    secret = Path(state.store.data) / "files" / "acme"
    (secret / "file-dir").mkdir()
    (secret / "file-dir" / "gone").symlink_to("/nonexistent/loop")
    await state.save(folder)  # what cannot be opened because it is not there was nobody's
    (archived,) = folder.iterdir()
    archived.unlink()
    await state.jobs.enqueue(ME, "work", {})
    assert await state.jobs.claim(["work"], "w", 60) is not None
    with pytest.raises(StoreUnavailable, match="still run"):
        await backup(state.store, state.database, folder, patience_s=0, say=print)
    assert list(folder.iterdir()) == []
    (folder / "there.tar").write_text("")
    with pytest.raises(NotEmpty, match="exists"):
        await state.save(folder / "there.tar")


async def test_a_sealed_archive_needs_its_key(state: State, tmp_path: Path):
    mine = state
    (tmp_path / "key").write_text(new_key())
    (tmp_path / "other").write_text(new_key())
    key, other = [read_key((tmp_path / name).read_text()) for name in ("key", "other")]
    rows = await mine.rows()
    source = await backup(mine.store, mine.database, tmp_path, patience_s=60, say=lambda _: None, key=key)
    assert source.name.endswith(".tar.sealed")
    sealed = source.read_bytes()
    assert b"heron" not in sealed
    theirs = State(f"sqlite:///{tmp_path}/theirs.db", str(tmp_path / "theirs"))
    await theirs.database.migrate()
    empty = await theirs.rows()
    plain = await mine.save(tmp_path / "plain.tar")
    damaged = tmp_path / "damaged"
    damaged.write_bytes(sealed[:-2000] + bytes([sealed[-2000] ^ 1]) + sealed[-1999:])
    cut = tmp_path / "cut"
    cut.write_bytes(sealed[:-1])
    for path, given, error in (
        (source, None, BadArchive),
        (source, other, Unreadable),
        (damaged, key, Unreadable),
        (cut, key, Unreadable),
        (plain, key, BadArchive),
    ):
        with pytest.raises(error):
            await restore(theirs.store, theirs.database, path, force=False, say=lambda _: None, key=given)
        assert await theirs.rows() == empty
    await restore(theirs.store, theirs.database, source, force=False, say=lambda _: None, key=key)
    assert await theirs.rows() == rows
    assert (await AuditLog(theirs.database, "s" * 40).verify("acme")).problems == []
    await theirs.database.close()


async def test_temporary_files_are_encrypted_too(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = bytearray()

    class Seen(tempfile.SpooledTemporaryFile[bytes]):
        def write(self, content: bytes) -> int:  # type: ignore[override]
            waited.extend(content)
            return super().write(content)

    monkeypatch.setattr(archive, "IN_MEMORY", 1)
    monkeypatch.setattr(archive.tempfile, "SpooledTemporaryFile", Seen)
    plain = (await state.save(tmp_path / "plain.tar")).read_bytes()
    for word in (b"heron", b"alice", b'"rows"'):
        assert word in plain
        assert word not in waited
    assert len(waited) > len(plain) / 4
