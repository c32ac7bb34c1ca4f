from pathlib import Path

import pytest
from pydantic import ValidationError

from infra.application import build_digest, catalog, own_database_mistakes, serving_config
from infra.config import StackConfig
from serving.config import PrometheusServer, SecretRef, Store

ISSUER = {"name": "main", "issuer": "https://id.example.com", "client_id": "headrace", "tenant": "acme"}


@pytest.mark.parametrize(
    ("database", "refused"),
    [
        ("postgresql+psycopg://owner@db.data.svc:5432/headrace", True),
        ("postgresql://owner@db.data.svc:5432/shop", False),
        ("sqlite:////h.db", False),
        ("postgresql://owner@db:port/headrace", False),
    ],
)
def test_a_tool_never_reads_the_stacks_own_database(database: str, refused: bool) -> None:
    tool = {"kind": "sql", "name": "own", "description": "x", "database": "postgresql://reader@db.data.svc/headrace"}
    found = [str(m) for m in own_database_mistakes(StackConfig.model_validate({"tools": [tool]}), database)]
    said = "headrace:tools[0].database: is the stack's own database, which holds the data of all tenants; name another"
    assert [m.startswith(said) for m in found] == [True] * refused


@pytest.mark.parametrize(
    ("oidc", "url"),
    [
        ({}, "https://stack.example.com"),  # for sessions of API keys
        ({"issuers": [ISSUER]}, "https://stack.example.com"),
        ({"issuers": [ISSUER], "url": "https://chat.example.com"}, "https://chat.example.com"),
    ],
)
def test_browsers_know_the_stack_by_its_url(oidc: dict[str, object], url: str) -> None:
    secret = SecretRef(ref="file:/s")
    told = serving_config(
        StackConfig.model_validate({"oidc": oidc}),
        store=Store(database="sqlite:////h.db", data="/d"),
        key_secret=lambda number: secret,
        api_key=secret,
        multiprocess_dir=None,
        url="https://stack.example.com",
        prometheus=PrometheusServer(),
    )
    assert told.oidc.url == url


def test_the_build_digest_depends_on_the_program_only(tmp_path: Path) -> None:
    for name in ("serving/app.py", "serving/api/app.py", "serving/api/static/page.js", "requirements/serving.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    before = build_digest(tmp_path, "serving")
    (tmp_path / "serving/notes.txt").write_text("x")
    assert build_digest(tmp_path, "serving") == before
    (tmp_path / "serving/api/app.py").write_text("y")
    edited = build_digest(tmp_path, "serving")
    (tmp_path / "serving/api/static/page.js").write_text("y")
    restyled = build_digest(tmp_path, "serving")
    (tmp_path / "requirements/serving.txt").write_text("z")
    assert len({before, edited, restyled, build_digest(tmp_path, "serving")}) == 4


def test_the_catalogue_contains_collection_access() -> None:
    knowledge = [{"name": "handbook", "paths": ["README.md"]}]
    assert catalog(StackConfig.model_validate({"knowledge": knowledge}), Path()).collections is None
    knowledge.append({"name": "law", "paths": ["README.md"], "access": {"tenants": ["acme"], "groups": ["legal"]}})
    [law] = catalog(StackConfig.model_validate({"knowledge": knowledge}), Path()).collections or ()
    assert (law.name, law.access.tenants, law.access.users, law.access.groups) == ("law", ("acme",), (), ("legal",))


@pytest.mark.parametrize("bad", [{"tenants": [""]}, {"users": ["x" * 257]}, {"groups": ["a"] * 257}, {"tenant": ["a"]}])
def test_invalid_access_is_a_mistake(bad: dict[str, list[str]]) -> None:
    with pytest.raises(ValidationError):
        StackConfig.model_validate({"knowledge": [{"name": "law", "paths": ["README.md"], "access": bad}]})
