from pathlib import Path

from infra.application import build


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
