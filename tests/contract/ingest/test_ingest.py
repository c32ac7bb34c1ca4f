"""Ingestion through the real API and the real retrieval (without Ray between them), on each kind of state."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.core.managed import CHECKED_AT
from serving.ingest import __main__ as program
from serving.ingest.__main__ import ingest
from serving.ingest.api import IngestError
from serving.ingest.folder import FolderSource, documents
from serving.ingest.reconcile import check
from tests.contract.ingest.stack import KEY, Stack, as_user, found
from tests.wait import eventually

MALLORY = "mallory"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Documents as a ConfigMap mounts them: links into a folder that changes as a whole."""
    folder = tmp_path / "documents"
    real = folder / "..2026"
    (real / "sub").mkdir(parents=True)
    (real / "heron.md").write_text("# Heron\n\nThe heron stands in the river and waits for fish.")
    (real / "sub" / "mill.md").write_text("# Mill\n\nThe mill grinds corn with the force of water.")
    (folder / "..data").symlink_to("..2026")
    (folder / "heron.md").symlink_to("..data/heron.md")
    (folder / "sub").symlink_to("..data/sub")
    return folder


def sha(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def run(stack: Stack, folder: Path, **given: Any) -> None:
    ingest(stack.url, stack.key, "birds", of(folder), **{"wait_s": 60, **given})


def of(folder: Path) -> FolderSource:
    return FolderSource(folder, documents(folder, every_kind=True, say=print))


def test_a_collection_follows_its_documents(stack: Stack, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(stack, folder)
    assert "'birds' has 2 documents" in capsys.readouterr().err
    assert stack.search("birds", "Where does the heron stand?")[0] == "heron.md"
    # Again: nothing is written but that it was checked.
    with as_user(stack) as client:
        (store,) = client.get("/v1/vector_stores").json()["data"]
        url = f"/v1/vector_stores/{store['id']}"
        begun = int(store["metadata"].pop(CHECKED_AT))
        client.post(url, json={"metadata": store["metadata"]}).raise_for_status()
        stack.calls.clear()
        run(stack, folder)
        assert [call for call in stack.calls if not call.startswith("GET ")] == [f"POST {url}"]
        assert int(client.get(url).json()["metadata"][CHECKED_AT]) >= begun
    # One changed, one gone, one new.
    (folder / "heron.md").unlink()
    (folder / "heron.md").write_text("# Heron\n\nThe grey heron nests in tall trees.")
    (folder / "sub").unlink()
    (folder / "otter.md").write_text("# Otter\n\nThe otter swims at night.")
    stack.calls.clear()
    run(stack, folder)
    assert stack.calls.count("POST /v1/files") == 2
    found(stack, {"heron.md", "otter.md"})


def test_failed_documents_are_named_and_others_ingested(stack: Stack, folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing that a reader could use")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(IngestError) as e:
        run(stack, folder)
    lines = str(e.value).splitlines()
    assert lines[0] == "2 of 4 documents of 'birds' failed:"
    assert [line.split(":")[0].strip() for line in lines[1:3]] == ["broken.pdf", "picture.png"]
    assert "the others are ingested" in lines[3]
    found(stack, {"heron.md", "mill.md"})
    with as_user(stack) as client:
        (store,) = client.get("/v1/vector_stores").json()["data"]
        assert CHECKED_AT not in store["metadata"]
        wanted = {"heron.md": sha(folder / "heron.md"), "sub/mill.md": sha(folder / "sub" / "mill.md")}
        assert not check(client, "none", wanted)
        assert not check(client, "birds", wanted | {"new.md": "0" * 64})
        assert not check(client, "birds", {"heron.md": wanted["heron.md"]})
        assert CHECKED_AT not in client.get(f"/v1/vector_stores/{store['id']}").json()["metadata"]
        assert check(client, "birds", wanted)
        assert CHECKED_AT in client.get(f"/v1/vector_stores/{store['id']}").json()["metadata"]
    for name in ("broken.pdf", "picture.png"):
        (folder / name).unlink()
    run(stack, folder)


def test_ingestion_waits_for_the_api_and_survives_outages(
    stack: Stack, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(program._Console, "say", lambda _, line: said.append(line))
    stack.stop()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            run(stack, folder)
        except BaseException as e:
            failed.append(e)

    thread = threading.Thread(target=work)
    thread.start()
    eventually(lambda: any(line.startswith("waiting: GET /v1/me") for line in said), "it waits")
    stack.start()
    thread.join(60)
    assert not thread.is_alive()
    assert failed == []
    assert len(stack.search("birds", "heron")) == 2


def test_wrong_key_and_no_api_end_with_the_reason(stack: Stack, folder: Path, tmp_path: Path) -> None:
    stack.key.write_text("hr_wrong")
    with pytest.raises(IngestError, match="not within 0 s: GET /v1/me answered 401"):
        run(stack, folder, wait_s=0)
    with pytest.raises(IngestError, match=r"not within 0 s: .*Connection refused"):
        ingest("http://127.0.0.1:1", stack.key, "birds", of(folder), wait_s=0)


def test_concurrent_jobs_create_one_collection(stack: Stack, folder: Path) -> None:
    threads = [threading.Thread(target=run, args=(stack, folder)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run(stack, folder)
    with httpx.Client(
        base_url=stack.url, headers={"authorization": f"Bearer {KEY}"}, trust_env=False, timeout=60
    ) as client:
        stores = client.get("/v1/vector_stores", params={"order": "asc"}).json()["data"]
        files = client.get(f"/v1/vector_stores/{stores[0]['id']}/files").json()["data"]
    assert sorted(f["attributes"]["path"] for f in files) == ["heron.md", "sub/mill.md"]


def test_users_cannot_take_over_collections_by_name(stack: Stack, folder: Path) -> None:
    with as_user(stack) as ours, as_user(stack, MALLORY) as hers:
        named = {"name": "birds", "metadata": {"managed_by": "headrace"}}
        trap = hers.post("/v1/vector_stores", json=named).raise_for_status().json()["id"]
        form = {"data": {"purpose": "assistants"}, "files": {"file": ("heron.md", b"The heron eats gold.")}}
        file = hers.post("/v1/files", **form).raise_for_status().json()["id"]
        sha = hashlib.sha256((folder / "heron.md").read_bytes()).hexdigest()
        lie = {"file_id": file, "attributes": {"path": "heron.md", "sha256": sha}}
        hers.post(f"/v1/vector_stores/{trap}/files", json=lie).raise_for_status()
        run(stack, folder)
        made = [s for s in ours.get("/v1/vector_stores?name=birds").json()["data"] if s["id"] != trap]
        assert [s["headrace"]["owner"] for s in made] == ["admin"]
        assert ours.get(f"/v1/vector_stores/{trap}/files").json()["data"][0]["id"] == file
        # Even what is in the collection with our attributes is not ours to delete, unless we uploaded it.
        ours.post(f"/v1/vector_stores/{made[0]['id']}/files", json=lie).raise_for_status()
        run(stack, folder)
        assert ours.get(f"/v1/files/{file}/content").content == b"The heron eats gold."
        assert hers.post(f"/v1/vector_stores/{made[0]['id']}", json={"name": "b"}).status_code == 403


def test_restricted_collections_follow_the_setting(stack: Stack, folder: Path) -> None:
    with as_user(stack) as ours, as_user(stack, MALLORY) as hers:

        def seen(client: httpx.Client) -> tuple[int, int]:
            files = client.get("/v1/files").raise_for_status().json()["data"]
            return len(client.get("/v1/vector_stores").json()["data"]), len(files)

        for restricted, sees in ((False, (1, 2)), (True, (0, 0)), (False, (1, 2))):
            run(stack, folder, restricted=restricted)
            assert seen(ours) == (1, 2)
            assert seen(hers) == sees
            stack.calls.clear()
            run(stack, folder, restricted=restricted)
            assert len([call for call in stack.calls if not call.startswith("GET ")]) == 1  # when it was checked
        # A list that an admin gave is left alone.
        (store,) = ours.get("/v1/vector_stores").json()["data"]
        ours.post(f"/v1/vector_stores/{store['id']}", json={"access": {"groups": ["x"]}}).raise_for_status()
        run(stack, folder)
        assert seen(hers) == (0, 2)


def test_documents_of_a_folder_exclude_hidden_and_empty_files(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.md").write_text("hidden")
    (tmp_path / "up").symlink_to(tmp_path)
    with pytest.raises(IngestError, match="contains no documents"):
        documents(tmp_path, every_kind=True, say=said.append)
    for name, text in {"a.MD": "a", "b.bin": "b", "empty.md": "", ".c.md": "c"}.items():
        (tmp_path / name).write_text(text)
    assert list(documents(tmp_path, every_kind=False, say=said.append)) == ["a.MD"]
    assert said == ["skipped, empty or of an unsupported kind: b.bin, empty.md"]
    assert list(documents(tmp_path, every_kind=True, say=said.append)) == ["a.MD", "b.bin"]


def test_the_program_reports_missing_documents_and_keys(tmp_path: Path) -> None:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "serving.ingest", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert call().returncode == 2
    assert "Exit status" in call("--help").stdout
    given = ("--url=http://127.0.0.1:1", "--collection=c", f"--key={tmp_path}/key", "--wait=0")
    nothing = call(*given, f"--documents={tmp_path}")
    assert (nothing.returncode, nothing.stderr) == (1, f"error: {tmp_path} contains no documents\n")
    (tmp_path / "a.md").write_text("a")
    keyless = call(*given, f"--documents={tmp_path}")
    assert keyless.returncode == 1
    assert keyless.stderr.startswith("error: not within 0 s: ")
    assert "Traceback" not in keyless.stderr


@pytest.mark.parametrize(
    ("documents", "option", "reason"),
    [
        (".", "--subfolder=docs", "--subfolder is for a repository, and --documents names a folder"),
        ("https://example.org", "--ref=main", "--ref is for a repository, and --documents names a web site"),
        ("git+https://example.org/r", "--depth=0", "--depth is for a web site, and --documents names a repository"),
        ("s3://bucket", "--allow-private", "--allow-private is for a web site, and --documents names a bucket"),
        (".", "--endpoint=http://a", "--endpoint is for a bucket, and --documents names a folder"),
    ],
)
def test_options_of_other_sources_are_wrong(
    documents: str, option: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--url=http://127.0.0.1:1", "--collection=c", "--key=none", f"--documents={documents}", option]
    with pytest.raises(SystemExit) as ended:
        program.main(given)
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err
