"""`/v1/hub/versions`: adapters that are uploaded, found, downloaded and retired; and those that are refused."""

from __future__ import annotations

import hashlib
import json
import socket
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner

from serving.cli.__main__ import headrace
from serving.config import AdapterBounds, CallAccess, Catalog, LlamaCppModel, QuotaLimit, RemoteModel, VllmModel
from serving.core.principal import SCOPES_OF, Principal
from serving.hub.names import CONFIG, GGUF, WEIGHTS
from serving.quotas.quota import quota
from tests.callers.identity import key_of
from tests.contract.running import Gateway, Loop, gateway, request_lines
from tests.hub.adapters import SHAPES, Q, tensors, write_base, write_gguf, written
from tests.wait import eventually


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    base = f"file://{write_base(folder / 'base.gguf')}"
    models = (
        LlamaCppModel(name="small", source=base),
        LlamaCppModel(name="theirs", source=base, access=CallAccess(tenants=("evil",))),
        LlamaCppModel(
            name="changing", source=f"file://{write_base(folder / 'changing.gguf')}", adapters=AdapterBounds(max=1)
        ),
        LlamaCppModel(name="gone", source="file:///nowhere.gguf"),
        RemoteModel(name="far", url="http://127.0.0.1:1/v1"),
        VllmModel(name="big", source="hf://org/big"),
    )
    with Loop() as loop, gateway(loop, folder, Catalog(models=models)) as up:
        yield up


@pytest.fixture(scope="module")
def http(up: Gateway) -> Iterator[httpx.Client]:
    with up.client("/v1/hub") as http:
        yield http


def as_user(up: Gateway, who: Principal, **given: Any) -> httpx.Client:
    key = up.loop.do(key_of(up.services, who, role="admin", **given))
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=f"{up.url}/v1/hub", headers=headers, timeout=300, trust_env=False)


def peft(folder: Path, **settings: Any) -> dict[str, bytes]:
    written(folder, tensors(), **settings)
    return {"weights": (folder / WEIGHTS).read_bytes(), "config": (folder / CONFIG).read_bytes()}


def ranked(folder: Path, rank: int) -> dict[str, bytes]:
    written(folder, tensors(rank))
    return {"weights": (folder / WEIGHTS).read_bytes(), "config": (folder / CONFIG).read_bytes()}


def register(http: httpx.Client, files: dict[str, bytes], **fields: str) -> httpx.Response:
    given = {"name": "docs", "base": "small"} | fields
    return http.post("versions", data=given, files={name: (name, content) for name, content in files.items()})


def test_an_adapter_of_peft_is_registered_and_downloaded(up: Gateway, http: httpx.Client, tmp_path: Path) -> None:
    files = peft(tmp_path)
    answer = register(http, files, provenance='{"code": "abc"}')
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert (made["object"], made["status"], made["kind"], made["method"]) == (
        *("hub.version", "ready", "adapter", "registered"),
    )
    assert (made["rank"], made["recipe"]["modules"], made["provenance"]) == (2, len(SHAPES), {"code": "abc"})
    names = {each["name"]: each for each in made["artefacts"]}
    assert names.keys() == {WEIGHTS, CONFIG, GGUF}
    for name, content in ((WEIGHTS, files["weights"]), (CONFIG, files["config"])):
        download = http.get(f"versions/{made['id']}/artefacts/{name}/content")
        assert (download.content, names[name]["sha256"]) == (content, hashlib.sha256(content).hexdigest())
        assert download.headers["content-disposition"].startswith("attachment")
    assert http.get(f"versions/{made['id']}/artefacts/{GGUF}/content").content.startswith(b"GGUF")
    assert http.get(f"versions/{made['id']}/artefacts/other/content").status_code == 404
    assert http.get(f"versions/{made['id']}").json() == made
    lineage = http.get(f"versions/{made['id']}/lineage").json()
    assert (lineage["version"], lineage["ancestors"], lineage["descendants"]) == (made, [], [])
    again = register(http, files, base_digest=made["base_digest"]).json()
    assert again["number"] == made["number"] + 1
    listed = http.get("versions", params={"name": "docs", "kind": "adapter", "status": "ready", "limit": 1}).json()
    assert (listed["data"], listed["has_more"]) == ([again], True)
    events = up.loop.do(up.services.audit.page("default")).items
    assert ("hub_version.create", again["id"]) in [(event["action"], event["target"]) for event in events]


def test_an_adapter_of_llama_cpp_is_registered(http: httpx.Client, tmp_path: Path) -> None:
    halves = {"blk.0.attn_q.weight.lora_a": np.ones((2, 16), np.float32)}
    halves["blk.0.attn_q.weight.lora_b"] = np.ones((16, 2), np.float32)
    content = write_gguf(tmp_path / "a.gguf", **halves).read_bytes()
    made = register(http, {"weights": content}, name="other").json()
    assert [each["name"] for each in made["artefacts"]] == [GGUF]
    assert http.get(f"versions/{made['id']}/artefacts/{GGUF}/content").content == content


def test_an_adapter_of_an_external_base_is_checked_by_itself(http: httpx.Client, tmp_path: Path) -> None:
    files = peft(tmp_path)
    refused = register(http, files, base="big").json()["error"]
    assert refused["param"] == "base_digest"
    made = register(http, files, base="big", base_digest="a" * 64).json()
    assert (made["base_digest"], {each["name"] for each in made["artefacts"]}) == ("a" * 64, {WEIGHTS, CONFIG})


def test_an_adapter_is_not_served_with_other_weights_than_it_was_made_for(
    up: Gateway, http: httpx.Client, tmp_path: Path
) -> None:
    made = register(http, peft(tmp_path), base="changing").json()
    assert http.post(f"versions/{made['id']}/serve").json()["live"] is True
    http.post(f"versions/{made['id']}/withdraw").raise_for_status()
    model = up.services.catalog.current.router.model("changing", Principal("default", "admin", ""))
    assert isinstance(model, LlamaCppModel)
    with Path(model.source.removeprefix("file://")).open("ab") as base:
        base.write(b"other weights")
    answer = http.post(f"versions/{made['id']}/serve")
    assert (answer.status_code, "no longer has" in answer.json()["error"]["message"]) == (409, True)


def test_a_version_is_retired(http: httpx.Client, tmp_path: Path) -> None:
    made = register(http, peft(tmp_path), name="old").json()
    retired = http.post(f"versions/{made['id']}/retire", json={"reason": "too small"}).json()
    assert (retired["status"], retired["reason"], retired["bytes"]) == ("retired", "too small", made["bytes"])
    deleted = http.post(f"versions/{made['id']}/retire", json={"delete_artefacts": True}).json()
    assert (deleted["status"], deleted["bytes"], deleted["artefacts"]) == ("retired", 0, made["artefacts"])
    assert http.get(f"versions/{made['id']}/artefacts/{GGUF}/content").status_code == 404


def test_unsuitable_adapters_are_rejected(http: httpx.Client, tmp_path: Path) -> None:
    good = peft(tmp_path)
    nan = tensors() | {f"{Q}.lora_A.weight": np.full((2, 16), np.nan, np.float32)}
    written(tmp_path / "nan", nan)
    climbing = BytesIO()
    with zipfile.ZipFile(climbing, "w") as archive:
        archive.writestr(f"../../../{tmp_path}/climbed", b"out")
    bad: list[tuple[str, str | None, dict[str, bytes], dict[str, str]]] = [
        ("invalid_adapter", "weights", good | {"weights": (tmp_path / "nan" / WEIGHTS).read_bytes()}, {}),
        ("invalid_adapter", "weights", {"weights": b"GGUF garbage"}, {}),
        ("invalid_adapter", "weights", {"weights": climbing.getvalue()} | {"config": good["config"]}, {}),
        ("invalid_adapter", "weights", peft(tmp_path / "dora", use_dora=True), {}),
        ("invalid_adapter", "weights", ranked(tmp_path / "high", 257), {}),
        ("wrong_base", "base_digest", good, {"base_digest": "0" * 64}),
        ("invalid_request", "base_digest", good, {"base_digest": "?"}),
        ("invalid_request", "config", {"weights": good["weights"]}, {}),
        ("invalid_request", "weights", {"config": good["config"]}, {}),
        ("model_not_found", "base", good, {"base": "nothing"}),
        ("model_not_found", "base", good, {"base": "theirs"}),
        ("invalid_request", "base", good, {"base": "far"}),
        ("invalid_request", "name", good, {"name": "../docs"}),
        ("invalid_request", "provenance", good, {"provenance": "[]"}),
        ("invalid_request", "body", good, {"other": "1"}),
    ]
    before = http.get("versions", params={"limit": 100}).json()
    for code, param, files, fields in bad:
        answer = register(http, files, **fields)
        found = answer.json()["error"]
        statuses = {"model_not_found": 404}
        assert answer.status_code == statuses.get(code, 400), answer.text
        assert found["param"] == param, found
        if code != "invalid_request":
            assert found["code"] == code, found
    assert register(http, good, base="gone").status_code == 503
    assert http.post("versions", json={}).status_code == 415
    assert http.get("versions", params={"limit": 100}).json() == before
    assert not (tmp_path / "climbed").exists()


def test_half_an_upload_leaves_no_version(
    up: Gateway, http: httpx.Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    hub = Path(up.services.config.store.data) / "hub"
    before = http.get("versions", params={"limit": 100}).json(), {*hub.rglob("*")}
    files = {name: (name, content) for name, content in peft(tmp_path).items()}
    request = http.build_request("POST", "versions", data={"name": "cut", "base": "small"}, files=files)
    body = request.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    start = f"POST {request.url.raw_path.decode()} HTTP/1.1\r\n{head}\r\n".encode()
    caplog.clear()
    with socket.create_connection(("127.0.0.1", http.base_url.port), timeout=60) as connection:
        connection.sendall(start + body[: len(body) // 2])
    eventually(lambda: request_lines(caplog), "the gateway notices that the caller has gone")
    assert (http.get("versions", params={"limit": 100}).json(), {*hub.rglob("*")}) == before


def test_another_tenant_finds_nothing(up: Gateway, http: httpx.Client, tmp_path: Path) -> None:
    id = register(http, peft(tmp_path)).json()["id"]
    with as_user(up, Principal("evil", "mallory", "")) as evil:
        for answer in (
            evil.get(f"versions/{id}"),
            evil.get(f"versions/{id}/lineage"),
            evil.get(f"versions/{id}/artefacts/{GGUF}/content"),
            evil.post(f"versions/{id}/retire", json={}),
        ):
            assert answer.status_code == 404
        assert evil.get("versions").json()["data"] == []
    assert http.get(f"versions/{id}").json()["status"] == "ready"


def test_the_command_registers_looks_and_retires(up: Gateway, tmp_path: Path) -> None:
    def run(*arguments: str, status: int = 0) -> Any:
        environment = {"HEADRACE_URL": up.url, "HEADRACE_API_KEY": up.key}
        result = CliRunner(env=environment).invoke(headrace, ["hub", "versions", *arguments])
        assert result.exit_code == status, result.output
        return result

    peft(tmp_path / "a")
    register = ("register", "typed", str(tmp_path / "a"), "--base", "small")
    made = json.loads(run(*register, "--provenance", '{"code": "abc"}', "--json").stdout)
    assert (made["name"], made["status"], made["provenance"]) == ("typed", "ready", {"code": "abc"})
    out = tmp_path / "got.gguf"
    run("download", made["id"], GGUF, "--out", str(out))
    assert out.read_bytes().startswith(b"GGUF")
    assert "File exists" in run("download", made["id"], GGUF, "--out", str(out), status=1).output
    assert "no such artefact" in run("download", made["id"], "x", "--out", str(tmp_path / "x"), status=1).output.lower()
    again = json.loads(run("register", "typed", str(out), "--base", "small", "--json").stdout)
    assert (again["number"], [each["name"] for each in again["artefacts"]]) == (2, [GGUF])
    assert made["id"] in run("list", "--name", "typed", "--kind", "adapter").stdout
    assert "itself" in run("lineage", made["id"]).stdout
    assert json.loads(run("lineage", made["id"], "--json").stdout)["version"]["id"] == made["id"]
    run("retire", made["id"], "--delete-artefacts", "--yes")
    assert "retired" in run("get", made["id"]).stdout
    (tmp_path / "a" / CONFIG).unlink()
    assert f"has no {CONFIG}" in run(*register, status=2).output


def test_scopes_and_quotas_hold(up: Gateway, tmp_path: Path) -> None:
    reader = Principal("acme", "reader", "")
    with as_user(up, reader, scopes=SCOPES_OF["operator"]) as http:
        assert http.get("versions").status_code == 200
        assert register(http, peft(tmp_path)).status_code == 403
    with as_user(up, reader, scopes=SCOPES_OF["user"]) as http:
        assert http.get("versions").status_code == 403
    limit = QuotaLimit(window="total", measure="stored_bytes", limit=1000)
    up.loop.do(
        up.services.quotas.put(
            replace(reader, scopes=frozenset(("platform",))), [quota("acme", "tenant", "acme", limit)]
        )
    )
    up.loop.do(up.services.keeper.reload())
    with as_user(up, Principal("acme", "boss", "")) as http:
        refused = register(http, peft(tmp_path))
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
        [left] = http.get("versions").json()["data"]
        assert (left["status"], left["bytes"]) == ("rejected", 0)
