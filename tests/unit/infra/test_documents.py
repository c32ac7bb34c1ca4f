import hashlib
from pathlib import Path

import pytest

from infra.config import Knowledge
from infra.documents import documents, mistakes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("README.md", "docs/a.md", "docs/deep/b.txt", "docs/.hidden/c.md", "docs/image.png", "x.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_paths_may_be_folders_files_or_patterns(root: Path) -> None:
    assert list(documents(root, ["docs"])) == ["docs/a.md", "docs/deep/b.txt"]
    assert list(documents(root, ["README.md", "x.log"])) == ["README.md", "x.log"]
    assert list(documents(root, ["docs/**/*.txt"])) == ["docs/deep/b.txt"]


def test_each_has_the_checksum_of_its_content(root: Path) -> None:
    assert documents(root, ["README.md"]) == {"README.md": hashlib.sha256(b"README.md").hexdigest()}


def test_paths_without_documents_are_mistakes(root: Path) -> None:
    found = mistakes(root, [Knowledge(name="docs", paths=("docs", "manual"))])
    assert [m.key for m in found] == ["knowledge[0].paths[1]"]
    assert "'manual' matches no document" in str(found[0])
