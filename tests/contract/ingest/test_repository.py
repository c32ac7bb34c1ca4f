"""Git repositories as sources of collections, by the real git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from serving.ingest.__main__ import ingest, main
from serving.ingest.api import IngestError
from serving.ingest.collection import IngestRefused
from serving.ingest.repository import RepositorySource
from tests.contract.ingest.stack import Stack, found
from tests.servers.listening import listening


class Repository:
    """A repository with one branch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        person = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *person, *arguments], cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, files: dict[str, str | None]) -> str:
        """Writes files, or removes those without a text, and returns the commit's id."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.unlink()
            else:
                path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=x")
        return self.git("rev-parse", "HEAD")

    @property
    def url(self) -> str:
        return f"git+file://{self.folder}"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def source(where: str, ref: str = "HEAD", subfolder: str = "", **given: Any) -> RepositorySource:
    return RepositorySource(where, ref, subfolder, **{"every_kind": False, "say": print, **given})


@contextmanager
def served(repository: Repository) -> Iterator[str]:
    """Serves the repository by HTTP, as git's own CGI program does it."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            length = self.headers.get("content-length", "0")
            given = {
                "GIT_PROJECT_ROOT": str(repository.folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("content-type", ""),
                "CONTENT_LENGTH": length,
                "HTTP_GIT_PROTOCOL": self.headers.get("git-protocol", ""),
            }
            done = subprocess.run(
                ["git", "http-backend"],
                env={**os.environ, **given},
                input=self.rfile.read(int(length)),
                capture_output=True,
            )
            head, _, body = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

    with listening(Handler) as port:
        yield f"git+http://127.0.0.1:{port}"


def test_a_commit_is_fetched_by_http(repository: Repository) -> None:
    old = repository.commit({"heron.md": "heron"})
    repository.commit({"heron.md": "grey heron"})
    with served(repository) as where:
        for ref, content in (("HEAD", b"grey heron"), (old, b"heron")):
            given = source(f"{where}/.git", ref)
            ((path, version),) = given.listing({}).versions.items()
            assert (path, given.read(path, version)) == ("heron.md", content)
        with pytest.raises(IngestError, match=r"none\.git.* not found"):
            source(f"{where}/none.git")


def sync(stack: Stack, given: RepositorySource) -> None:
    ingest(stack.url, stack.key, "birds", given, wait_s=60)


def test_only_files_that_differ_between_commits_are_uploaded(small: Stack, repository: Repository) -> None:
    notes: dict[str, str | None] = {f"notes/{n}.md": f"# Note {n}\n\nThe cup of note {n}." for n in range(20)}
    first = repository.commit({**notes, "heron.md": "# Heron\n\nThe heron waits.", "mill.md": "# Mill\n\nThe mill."})
    sync(small, source(repository.url))
    assert small.calls.count("POST /v1/files") == 22
    repository.commit(
        {"heron.md": "# Heron\n\nThe grey heron nests.", "mill.md": None, "Größe.md": "# Otter\n\nOtter."}
    )
    (repository.folder / "uncommitted.md").write_text("# Otter\n\nOtter.")
    small.calls.clear()
    sync(small, source(str(repository.folder)))
    assert small.calls.count("POST /v1/files") == 2
    small.calls.clear()
    sync(small, source(repository.url, "main"))
    assert len([call for call in small.calls if not call.startswith("GET ")]) == 1
    # An older commit, of which two files are other ones again.
    small.calls.clear()
    sync(small, source(repository.url, first, ""))
    assert small.calls.count("POST /v1/files") == 2
    # A folder of it.
    sync(small, source(repository.url, "main", "/notes/"))
    assert sorted(source(repository.url, "main", "notes").listing({}).versions) == sorted(f"{n}.md" for n in range(20))


def test_links_hidden_files_and_lfs(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    (repository.folder / "link.md").symlink_to("/etc/passwd")
    repository.commit({"heron.md": "heron", "big.pdf": pointer, ".github/a.md": "x", "empty.md": "", "x.png": "x"})
    given = source(repository.url)
    assert sorted(given.listing({}).versions) == ["big.pdf", "heron.md"]
    assert "unsupported kind: empty.md, x.png" in capsys.readouterr().out
    assert given.read("heron.md", given.listing({}).versions["heron.md"]) == b"heron"
    with pytest.raises(IngestRefused, match="Git LFS"):
        given.read("big.pdf", given.listing({}).versions["big.pdf"])


def test_errors_say_what_is_wrong_and_remove_nothing(
    small: Stack, repository: Repository, tmp_path: Path, closed_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.commit({"heron.md": "# Heron\n\nThe heron waits."})
    given = [f"--url={small.url}", "--collection=birds", f"--key={small.key}"]
    assert main([*given, f"--documents={repository.folder}", "--ref=main"]) == 0
    small.calls.clear()
    for where, reason in (
        ([f"--documents={repository.url}", "--ref=no-such-branch"], "couldn't find remote ref no-such-branch"),
        ([f"--documents={repository.folder}", "--ref=no-such-branch"], "cannot be read: fatal"),
        ([f"--documents={repository.url}", "--subfolder=none"], "cannot be read: fatal"),
        ([f"--documents={repository.url}", "--ref=--upload-pack=x"], "--ref: '--upload-pack=x' is not valid"),
        ([f"--documents={tmp_path / 'none'}", "--ref=main"], "the folder does not exist"),
        ([f"--documents=git+https://127.0.0.1:{closed_port}/a.git"], "cannot be read: fatal: unable to access"),
        (["--documents=git+ext://sh"], "is neither a folder nor"),
    ):
        assert main([*given, *where]) == 1
        said = capsys.readouterr().err
        assert reason in said
        assert "Traceback" not in said
    assert small.calls == []
    found(small, {"heron.md"})


def test_without_git(repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(IngestError, match="the program git is not installed"):
        source(repository.url)
