from pathlib import Path

import pytest

from infra.application import build, serving
from infra.config import StackConfig
from serving.config import SecretRef, Store


def test_a_tool_never_reads_the_stacks_own_database() -> None:
    tool = {"kind": "sql", "name": "own", "description": "x", "database": "postgresql://reader@db.data.svc/headrace"}
    config = StackConfig.model_validate({"tools": [tool]})
    secret = SecretRef(ref="file:/s")
    store = Store(database="postgresql+psycopg://owner@db.data.svc:5432/headrace", data="/d")
    with pytest.raises(ValueError, match="the tool 'own' must not read the stack's own database"):
        serving(config, store=store, key_secret=secret, api_key=secret, multiprocess_dir=None)


def test_the_build_follows_the_program_and_nothing_else(tmp_path: Path) -> None:
    for name in ("serving/app.py", "serving/api/app.py", "requirements/serving.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    before = build(tmp_path)
    (tmp_path / "serving/notes.txt").write_text("x")
    assert build(tmp_path) == before
    (tmp_path / "serving/api/app.py").write_text("y")
    edited = build(tmp_path)
    (tmp_path / "requirements/serving.txt").write_text("z")
    assert len({before, edited, build(tmp_path)}) == 3
