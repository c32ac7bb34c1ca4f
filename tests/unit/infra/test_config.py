import json
from typing import Any

import pytest
import yaml

from infra.config import StackConfig
from infra.config_loader import LoadedConfig, load
from infra.layout import CHECKOUT
from infra.mistakes import Mistake, report
from tools.reference.project import project

FOLDER = "/state/secrets"
LOADED_DEFAULTS = LoadedConfig(StackConfig(), {}, [])


def mistakes(raw: dict[str, Any], secret: frozenset[str] = frozenset()) -> list[str]:
    result = load({k: v if isinstance(v, str) else json.dumps(v) for k, v in raw.items()}, secret, FOLDER)
    return [str(m) for m in result.mistakes]


MODEL = {"name": "m", "engine": "llamacpp", "source": "file:///m.gguf"}
REMOTE = {"name": "r", "engine": "remote", "url": "http://127.0.0.1:9/v1"}

EMBEDS = {**REMOTE, "name": "e", "task": "embed", "embedding": {"dimensions": 8}}
SQL = {"kind": "sql", "name": "sales", "description": "x", "database": "postgresql://reader@db/sales"}
MCP = {"kind": "mcp", "name": "wiki", "url": "https://wiki.example.com/mcp"}
WEB = {"kind": "http", "name": "web", "description": "x", "allow": ["https://a.b/"]}


def test_tenants_secrets_are_extracted() -> None:
    """The default's file is another than that of a tenant called default."""
    secret = {"tenants": {"acme": "one", "default": "two"}, "default": "three"}
    raw = {"tools": json.dumps([{**WEB, "headers": {"X-Key": secret}}])}
    loaded = load(raw, frozenset({"tools"}), FOLDER)
    assert not loaded.mistakes
    file = "tool-web-header-x-key"
    taken = {name: value.get_secret_value() for name, value in loaded.secrets.items()}
    assert taken == {file: "three", f"{file}.acme": "one", f"{file}.default": "two"}
    [tool] = loaded.config.tools
    assert tool.model_dump()["headers"]["X-Key"] == {
        "tenants": {name: {"ref": f"file:{FOLDER}/{file}.{name}"} for name in ("acme", "default")},
        "default": {"ref": f"file:{FOLDER}/{file}"},
    }


def test_an_empty_configuration_is_the_working_local_stack() -> None:
    result = load({}, frozenset(), FOLDER)
    assert not result.mistakes
    assert [m.name for m in result.config.models] == ["smollm2"]
    assert [a.name for a in result.config.assistants] == ["docs"]
    assert result.config.knowledge[0].paths == ("README.md", "docs")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"target": "mars"}, "headrace:target: 'mars' is not known; use 'local'"),
        ({"modles": []}, "headrace:modles: is not a known setting; did you mean 'models'?"),
        ({"ports": "8080, 9090"}, "headrace:ports: is a string, not a list or mapping; write it as YAML"),
        (
            {"ports": {"api": 80}},
            "headrace:ports.api: '80' is not allowed; it should be greater than or equal to 1024",
        ),
        (
            {"aws": {"account": 123456789012}},
            "headrace:aws.account: 123456789012 is a number, not text; write it in quotes",
        ),
        (
            {"cluster": {"authorized_ranges": ["203.0.113.7/24"]}},
            "headrace:cluster.authorized_ranges[0]: '203.0.113.7/24' is not a network; did you mean '203.0.113.0/24'?",
        ),
        (
            {"ports": {"status": 9091}},
            "headrace:ports.status: is no longer a setting; delete it: the dashboards are in the console",
        ),
        ({"ports": {"apj": 8080}}, "headrace:ports.apj: is not a known setting; did you mean 'api'?"),
        (
            {"ports": {"api": 9090}},
            "headrace:ports.prometheus: 9090 is also ports.api; give each its own port",
        ),
        ({"ports": {"ray": 8000}}, "headrace:ports.api: 8080 is in Ray's block 8000-8999; change it"),
        ({"ports": {"ray": 80}}, "headrace:ports.ray: 80 is a privileged port; use 0, or 1024 and above"),
        ({"host": "localhost"}, "headrace:host: 'localhost' is not allowed; it is not a valid IPv4 address"),
        (
            {"models": [{**MODEL, "engine": "tgi"}]},
            "headrace:models[0].engine: is not a known engine; use one of 'llamacpp', ",
        ),
        ({"models": [{"name": "m", "engine": "llamacpp"}]}, "headrace:models[0].source: is missing; add it"),
        (
            {"models": [{**REMOTE, "price": {"input": 1}}]},
            "headrace:models[0].price: is not allowed; it needs input and output together",
        ),
        (
            {"models": [{**REMOTE, "objectives": {"first_token_s": 0}}]},
            "headrace:models[0].objectives.first_token_s: '0' is not allowed; it should be greater than 0",
        ),
        (
            {"models": [{**REMOTE, "objectives": {"first_tokens_s": 1}}]},
            "headrace:models[0].objectives.first_tokens_s: is not a known setting; did you mean 'first_token_s'?",
        ),
        (
            {"models": [{**REMOTE, "objectives": {"end_to_end_by_length_s": {"short": 60}}}]},
            "headrace:models[0].objectives: is not allowed; it allows medium answers 30 s, less than short ones,"
            " which have 60 s: see end_to_end_by_length_s",
        ),
        (
            {"models": [{**REMOTE, "task": "rerank", "objectives": {}}]},
            "headrace:models[0].remote: is not allowed; it has objectives, which are for models whose task is chat",
        ),
        (
            {"models": [{**REMOTE, "price": {"input": -1, "output": 1}}]},
            "headrace:models[0].price.input: '-1' is not allowed; it should be greater than or equal to 0",
        ),
        (
            {"models": [{**REMOTE, "price": {"input": 1, "output": 1, "currency": "dollar"}}]},
            "headrace:models[0].price.currency: 'dollar' is not well formed; it must match",
        ),
        (
            {"models": [{**REMOTE, "price": {"input": 1, "output": 1, "cached_input": 0}}]},
            "headrace:models[0].remote: is not allowed; it needs prompt_cache own or salted for price.cached_input",
        ),
        (
            {"models": [{**MODEL, "price": {"input": 1, "output": 1, "cached_input": 0}}], "assistants": []},
            "headrace:models[0].price.cached_input: is never charged: with headrace:prompt_cache tenant, the number",
        ),
        (
            {"prompt_cache": "everybody"},
            "headrace:prompt_cache: 'everybody' is not known; use 'tenant', 'user' or 'off'",
        ),
        ({"models": [{**MODEL, "slot": 2}]}, "headrace:models[0].slot: is not a known setting; did you mean 'slots'?"),
        (
            {"models": [{**MODEL, "name": "My Model"}]},
            "headrace:models[0].name: 'My Model' is not well formed; did you mean 'my-model'?",
        ),
        (
            {"models": [{**REMOTE, "url": "ftp://x"}]},
            "headrace:models[0].url: 'ftp://x' is not allowed; it must be an http or https URL",
        ),
        (
            {"models": [MODEL, MODEL], "assistants": []},
            "headrace:models[1].name: 'm' is already models[0].name; choose another name",
        ),
        (
            {"assistants": [{"name": "docs", "model": "smollm3"}]},
            "headrace:assistants[0].model: there is no model or alias 'smollm3'; did you mean 'smollm2'?",
        ),
        (
            {"assistants": [{"name": "a", "model": "smollm2", "knowledge": ["handbook"]}]},
            "headrace:assistants[0].knowledge[0]: there is no collection in headrace:knowledge 'handbook'; use one of",
        ),
        (
            {"aliases": [{"name": "chat", "targets": [{"model": "gpt"}]}]},
            "headrace:aliases[0].targets[0].model: there is no model 'gpt'; use one of smollm2",
        ),
        (
            {"aliases": [{"name": "chat", "managed": {"base": "smollm2", "pin": "gpt"}}]},
            "headrace:aliases[0].managed.pin: there is no model 'gpt'; use one of smollm2",
        ),
        (
            {"models": [{**REMOTE, "task": "embed"}]},
            "headrace:models[0].remote: is not allowed; it needs embedding, with its dimensions, for task embed",
        ),
        (
            {"models": [{**REMOTE, "embedding": {"dimensions": 8}}]},
            "headrace:models[0].remote: is not allowed; it embedding applies to models whose task is embed",
        ),
        (
            {"models": [EMBEDS], "aliases": [{"name": "a", "targets": [{"model": "e"}]}], "assistants": []},
            "headrace:aliases[0].targets[0].model: the task of the model 'e' is embed, not chat; name a model of the",
        ),
        (
            {"models": [EMBEDS], "assistants": [{"name": "a", "model": "e"}]},
            "headrace:assistants[0].model: the task of the model 'e' is embed, not chat; name a model of the right",
        ),
        (
            {"retrieval": {"embedder": "smollm2"}},
            "headrace:retrieval.embedder: the task of the model 'smollm2' is chat; those whose task is embed: bge",
        ),
        (
            {"retrieval": {"reranker": "ranks"}},
            "headrace:retrieval.reranker: there is no model 'ranks'; those whose task is rerank: none; name a model of",
        ),
        (
            {"models": [{**EMBEDS, "name": "all-minilm-l6-v2"}], "assistants": []},
            "headrace:models[0].name: 'all-minilm-l6-v2' is the name of a local embedder; name a",
        ),
        (
            {"apps": [{"name": "all-minilm-l6-v2", "object": "agents:graph", "folder": "app"}]},
            "headrace:apps[0].name: 'all-minilm-l6-v2' is the name of a local embedder; choose",
        ),
        (
            {"knowledge": [{"name": "docs", "paths": []}]},
            "headrace:knowledge[0].paths: is not allowed; it should have at least 1 item",
        ),
        (
            {"knowledge": [{"name": "docs", "paths": ["a"]}, {"name": "docs", "paths": ["b"]}]},
            "headrace:knowledge[1].name: 'docs' is already knowledge[0].name; choose another name",
        ),
        (
            {"limits": {"queue": "many"}},
            "headrace:limits.queue: 'many' is not a number; write digits",
        ),
        (
            {"models": [{**REMOTE, "api_key": {"ref": "env:KEY"}}]},
            "headrace:models[0].api_key.ref: environment variables do not reach a local stack; use {ref: file:/path}",
        ),
        (
            {"tools": [{**SQL, "kind": "nosql"}]},
            "headrace:tools[0].kind: is not a known kind; use one of 'http', 'sql', 'mcp'",
        ),
        ({"tools": [SQL, SQL]}, "headrace:tools[1].name: 'sales' is already tools[0].name; choose another name"),
        (
            {"tools": [{**SQL, "name": "time"}]},
            "headrace:tools[0].name: 'time' is not allowed; it must not be the name of a built-in tool",
        ),
        (
            {"tools": [{**WEB, "allow": ["https://a.b/../c"]}]},
            "headrace:tools[0].allow[0]: 'https://a.b/../c' is not allowed; it must be an unambiguous URL",
        ),
        (
            {"assistants": [{"name": "a", "model": "smollm2", "tools": ["sails"]}], "tools": [SQL]},
            "headrace:assistants[0].tools[0]: there is no tool 'sails'; did you mean 'sales'?",
        ),
        (
            {"tools": [MCP, {**WEB, "name": "wiki_search"}]},
            "headrace:tools[1].name: 'wiki_search' could be a tool of the MCP server 'wiki'; choose another name",
        ),
        (
            {"tools": [{**MCP, "headers": {"X": {"ref": "env:KEY"}}}]},
            "headrace:tools[0].headers.X.ref: environment variables do not reach a local stack; use {ref: file:/path}",
        ),
        (
            {"tools": [{**WEB, "headers": {"X": {"tenants": {"acme": {"ref": "env:KEY"}}}}}]},
            "headrace:tools[0].headers.X.tenants.acme.ref: environment variables do not reach a local stack; ",
        ),
        (
            {"tools": [{**WEB, "headers": {"X": {"tenants": {"acme": {"ref": "file:/a"}}, "default": "a"}}}]},
            "headrace:tools[0].headers.X.default: is in plain text; replace it by `pulumi config set",
        ),
        (
            {
                "tools": [
                    {**WEB, "access": {"tenants": ["acme"]}, "headers": {"X": {"tenants": {"b": {"ref": "file:/a"}}}}}
                ]
            },
            "headrace:tools[0].http: is not allowed; it headers.X.tenants has 'b', which is not in access.tenants",
        ),
        (
            {
                "models": [{**REMOTE, "access": {"tenants": ["acme"]}}],
                "aliases": [{"name": "a", "targets": [{"model": "r"}], "access": {"tenants": ["globex"]}}],
                "assistants": [],
            },
            "headrace:aliases[0].targets[0].model: access of 'r' excludes some of those who may call 'a'; name a",
        ),
        (
            {
                "tools": [{**WEB, "access": {"tenants": ["acme"]}}],
                "assistants": [
                    {"name": "a", "model": "smollm2", "tools": ["web"], "access": {"tenants": ["globex"]}},
                ],
            },
            "headrace:assistants[0].tools[0]: access of 'web' excludes some of those who may call 'a'; name a",
        ),
        (
            {"models": [{**REMOTE, "access": {"tenants": []}}]},
            "headrace:models[0].access.tenants: is not allowed; it should have at least 1 item",
        ),
        (
            {"aliases": [{"name": "a", "targets": [{"model": "smollm2"}], "access": {"tenant": ["acme"]}}]},
            "headrace:aliases[0].access.tenant: is not a known setting; did you mean 'tenants'?",
        ),
        (
            {"assistants": [{"name": "a", "model": "smollm2", "access": {"groups": ["staff"]}}]},
            "headrace:assistants[0].access: is not allowed; it needs tenants: another tenant's admin can give",
        ),
        (
            {"tools": [{**WEB, "headers": {"X": {"ref": "env:KEY"}}}]},
            "headrace:tools[0].headers.X.ref: environment variables do not reach a local stack; use {ref: file:/path}",
        ),
        ({"gateway": {"replicas": 2}}, "headrace:gateway.cpus: is missing; add it"),
        (
            {"ray": {"object_store_bytes": 1}},
            "headrace:ray.object_store_bytes: '1' is not allowed; it should be greater than or equal to 75000000",
        ),
    ],
)
def test_a_mistake_names_key_problem_and_fix(raw: dict[str, Any], expected: str) -> None:
    assert any(m.startswith(expected) for m in mistakes(raw)), mistakes(raw)


def test_mistakes_of_every_kind_are_reported_together() -> None:
    raw = {
        "target": "mars",
        "ports": "8080",
        "models": [{**REMOTE, "name": "A B"}],
        "assistants": [{"name": "a", "model": "m", "knowledge": ["handbook"]}],
    }
    assert [m.split(":")[1] for m in mistakes(raw)] == [
        "target",
        "ports",
        "models[0].name",
        "assistants[0].knowledge[0]",
    ]


def test_every_mistake_is_reported_at_once() -> None:
    raw = {"target": "mars", "ports": {"api": 1}, "models": [{"engine": "remote", "name": "r"}]}
    assert len(mistakes(raw)) == 3
    text = report([Mistake("a", "is wrong", "mend it"), Mistake("b", "is wrong", "mend it")])
    assert text.splitlines() == [
        "the configuration has 2 mistakes:",
        "  headrace:a: is wrong; mend it",
        "  headrace:b: is wrong; mend it",
    ]


def test_an_encrypted_api_key_becomes_a_file() -> None:
    raw = {"models": json.dumps([{**REMOTE, "api_key": "planted"}]), "assistants": "[]"}
    result = load(raw, frozenset({"models"}), FOLDER)
    assert not result.mistakes
    [model] = result.config.models
    assert model.model_dump()["api_key"] == {"ref": f"file:{FOLDER}/model-r-api-key"}
    assert result.secrets["model-r-api-key"].get_secret_value() == "planted"
    assert "planted" not in repr(result)


def test_an_api_key_in_plain_text_is_a_mistake_that_does_not_repeat_it() -> None:
    found = mistakes({"models": [{**REMOTE, "api_key": "planted"}], "assistants": []})
    assert found[0].startswith("headrace:models[0].api_key: is in plain text; replace it by `pulumi")
    assert "planted" not in str(found)


def test_a_token_of_the_hub_is_kept_encrypted_and_never_repeated() -> None:
    raw = {"models": [{"engine": "vllm", "name": "llama", "source": "hf://a/b", "token": "planted"}], "assistants": []}
    kept = load(raw, frozenset({"models"}), FOLDER)
    assert kept.config.models[0].model_dump()["token"] == {"ref": f"file:{FOLDER}/model-llama-token"}
    assert kept.secrets["model-llama-token"].get_secret_value() == "planted"
    plain = load(raw, frozenset(), FOLDER)
    assert any(str(m).startswith("headrace:models[0].token: is in plain text") for m in plain.mistakes)
    assert "planted" not in str(plain.mistakes)


def test_secrets_of_tools_are_kept_encrypted_and_never_repeated() -> None:
    tools = [{**SQL, "password": "planted"}, {**WEB, "headers": {"Authorization": "Bearer planted"}}]
    kept = load({"tools": json.dumps(tools)}, frozenset({"tools"}), FOLDER)
    assert not kept.mistakes
    sql, web = kept.config.tools
    assert sql.model_dump()["password"] == {"ref": f"file:{FOLDER}/tool-sales-password"}
    assert web.model_dump()["headers"] == {"Authorization": {"ref": f"file:{FOLDER}/tool-web-header-authorization"}}
    assert kept.secrets["tool-web-header-authorization"].get_secret_value() == "Bearer planted"
    assert "planted" not in repr(kept)
    plain = load({"tools": tools}, frozenset(), FOLDER)
    keys = [str(m).split(": ")[0] for m in plain.mistakes]
    assert keys == ["headrace:tools[0].password", "headrace:tools[1].headers.Authorization"]
    assert "planted" not in str(plain.mistakes)


ISSUER = {"name": "main", "issuer": "https://id.example.com", "client_id": "headrace", "tenant": "acme"}


def test_client_secrets_are_kept_encrypted_and_never_repeated() -> None:
    raw = {"oidc": {"issuers": [{**ISSUER, "client_secret": "planted"}]}}
    kept = load(raw, frozenset({"oidc"}), FOLDER)
    assert not kept.mistakes
    assert kept.config.oidc.issuers[0].model_dump()["client_secret"] == {
        "ref": f"file:{FOLDER}/oidc-main-client-secret"
    }
    assert kept.secrets["oidc-main-client-secret"].get_secret_value() == "planted"
    plain = load(raw, frozenset(), FOLDER)
    assert [str(m).split(": ")[0] for m in plain.mistakes] == ["headrace:oidc.issuers[0].client_secret"]
    assert "planted" not in repr(kept) + str(plain.mistakes)


@pytest.mark.parametrize("oidc", ["x", [], {"issuers": "x"}, {"issuers": {}}, {"issuers": ["x"]}, {"issuers": [{}]}])
def test_invalid_providers_are_mistakes(oidc: Any) -> None:
    found = mistakes({"oidc": oidc})
    assert found
    assert all(key.startswith("headrace:oidc") for key in found)


@pytest.mark.parametrize(
    "issuer",
    [
        {"issuer": "http://id.example.com"},
        {"issuer": "http://127.evil.example"},
        {"issuer": "https://user@id.example.com"},
        {"issuer": "https://id.example.com/?a=b"},
        {"issuer": "https://id.example.com/#a"},
        {"issuer": "id.example.com"},
        {"algorithms": []},
        {"algorithms": ["none"]},
        {"algorithms": ["HS256"]},
        {"clock_skew_s": 301},
        {"scopes": ["email"]},
        {"scopes": ["openid", "a b"]},
        {"roles": {"staff": "owner"}},
        {"tenant": None},
        {"tenant_claim": "company"},
        {"tenant": None, "tenant_claim": "company"},
        {"tenants": {"acme": "acme"}},
    ],
)
def test_a_provider_that_cannot_be_trusted(issuer: dict[str, Any]) -> None:
    assert not mistakes({"oidc": {"issuers": [ISSUER]}})
    assert mistakes({"oidc": {"issuers": [{**ISSUER, **issuer}]}})


@pytest.mark.parametrize(
    ("other", "twice"),
    [
        ({"issuer": "https://b.example.com", "tenant": "b"}, "name 'main'"),
        ({"name": "b", "tenant": "b"}, "issuer 'https://id.example.com'"),
        ({"name": "b", "issuer": "https://b.example.com"}, "tenant 'acme'"),
        (
            {
                "name": "b",
                "issuer": "https://b.example.com",
                "tenant": None,
                "tenant_claim": "c",
                "tenants": {"x": "y", "z": "acme"},
            },
            "tenant 'acme'",
        ),
    ],
)
def test_identity_providers_share_no_tenants(other: dict[str, Any], twice: str) -> None:
    assert f"two issuers have the {twice}" in str(mistakes({"oidc": {"issuers": [ISSUER, {**ISSUER, **other}]}}))


@pytest.mark.parametrize("url", ["http://chat.example.com", "https://a.example.com/path", "https://a@b", "x"])
def test_an_address_where_no_session_can_be(url: str) -> None:
    assert not mistakes({"oidc": {"url": "https://chat.example.com:8443"}})
    assert mistakes({"oidc": {"url": url}})


@pytest.mark.parametrize("origin", ["*", "null", "https://*.example.com", "https://a.example.com/", "a.example.com"])
def test_an_origin_is_one_exactly(origin: str) -> None:
    assert not mistakes({"cors": {"origins": ["https://a.example.com", "http://localhost:3000"]}})
    assert mistakes({"cors": {"origins": [origin]}})


@pytest.mark.parametrize(
    "tools", ["x", {}, ["x"], [{"name": {}, "headers": "x", "password": 5}], [{"headers": {"a": []}}]]
)
def test_invalid_tools_are_mistakes(tools: Any) -> None:
    assert all(key.startswith("headrace:tools") for key in mistakes({"tools": tools}))


@pytest.mark.parametrize(
    "tool",
    [
        {**SQL, "password": 48151623},
        {**SQL, "password": {"ref": "48151623"}},
        {**SQL, "database": "postgresql://ada:48151623@db/x"},
        {**SQL, "database": "postgresql://ada:48@151623@db/x"},
        {**WEB, "headers": "Bearer 48151623"},
        {**WEB, "headers": {"Authorization": 48151623}},
        {**MCP, "headers": {"Authorization": {"ref": "Bearer 48151623"}}},
    ],
    ids=str,
)
def test_secrets_of_invalid_tools_are_not_quoted(tool: Any) -> None:
    found = mistakes({"tools": [tool]})
    assert any("headrace:tools[0]." in mistake for mistake in found)
    assert "48151623" not in str(found)


def test_values_below_an_encrypted_setting_are_never_repeated() -> None:
    found = mistakes({"models": [{**REMOTE, "model": "x", "retries": "planted"}]}, frozenset({"models"}))
    assert "headrace:models[0].retries" in str(found)
    assert "planted" not in str(found)


def test_the_project_file_declares_every_setting_with_its_default() -> None:
    text = (CHECKOUT / "Pulumi.yaml").read_text()
    assert text == project(text), "Pulumi.yaml is out of date: run `make docs`"
    declared = {k.removeprefix("headrace:"): v for k, v in yaml.safe_load(text)["config"].items()}
    assert declared.keys() == StackConfig.model_fields.keys()
    assert all(d["description"] for d in declared.values())
    kinds = {"string": str, "boolean": bool, "integer": int, "array": list, "object": dict}  # Pulumi refuses any other
    assert [name for name, d in declared.items() if type(d["default"]) is not kinds[d["type"]]] == []
    defaults = load(
        {k: json.dumps(d["default"]) for k, d in declared.items() if d["type"] != "string"}, frozenset(), ""
    )
    assert not defaults.mistakes
    assert defaults.config == StackConfig()
    strings = {k: d["default"] for k, d in declared.items() if d["type"] == "string"}
    assert load(strings, frozenset(), "") == LOADED_DEFAULTS


def test_the_example_stack_is_valid_and_says_what_is_the_default() -> None:
    example = yaml.safe_load((CHECKOUT / "Pulumi.local.yaml").read_text())["config"]
    result = load({k.removeprefix("headrace:"): json.dumps(v) for k, v in example.items()}, frozenset(), FOLDER)
    assert result == LOADED_DEFAULTS
