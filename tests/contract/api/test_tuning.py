"""Data sets and tuning jobs through the API: what is refused, and OpenAI's front. The hub's tests run jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from serving.config import CallAccess, Catalog, Embedding, LlamaCppModel, RemoteModel, Tuning
from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.running import Gateway, Loop, gateway

LONG = "a" * 47 + "-" + "b" * 15

MODELS = (
    LlamaCppModel(name="m", source="file:///none.gguf"),
    LlamaCppModel(name=LONG, source="file:///none.gguf"),
    LlamaCppModel(name="theirs", source="file:///none.gguf", access=CallAccess(tenants=("evil",))),
    LlamaCppModel(name="vectors", source="file:///none.gguf", task="embed", embedding=Embedding(dimensions=4)),
    RemoteModel(name="far", url="http://127.0.0.1:9/v1"),
)
ROWS = b"".join(
    json.dumps({"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "Yes."}]}).encode()
    + b"\n"
    for n in range(3)
)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with Loop() as loop, gateway(loop, folder, Catalog(models=MODELS), tuning=Tuning(enabled=True)) as made:
        yield made


@pytest.fixture(scope="module")
def client(up: Gateway) -> Iterator[httpx.Client]:
    with up.client() as made:
        yield made


@pytest.fixture(scope="module")
def sdk(up: Gateway) -> openai.OpenAI:
    return up.sdk()


def test_a_stack_without_tuning_says_how_to_enable_it(tmp_path: Path) -> None:
    with Loop() as loop, gateway(loop, tmp_path, Catalog(models=MODELS)) as made, made.client() as client:
        for path, body in (
            ("/v1/hub/datasets", {}),
            ("/v1/hub/jobs", {"method": "quantise", "name": "small", "base": "m"}),
            ("/v1/fine_tuning/jobs", {"model": "m", "training_file": "file-1"}),
        ):
            answer = client.post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict"), path
            assert "make tuning" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"base": "unknown"}, 404, "base"),
        ({"base": "theirs"}, 404, "base"),
        ({"base": "vectors"}, 404, "base"),
        ({"base": "far"}, 404, "base"),
        ({"version": "mver_" + "0" * 32}, 404, "version"),
        ({"method": "sft", "dataset": "dset_" + "0" * 32}, 404, "dataset"),
        ({"method": "distil", "dataset": "dset_" + "0" * 32, "teacher": "far"}, 404, "teacher"),
        ({"recipe": {"steps": 3}}, 400, None),
        ({"recipe": {"type": "Q1"}}, 400, "recipe.type"),
        ({"surprise": 1}, 400, "surprise"),
    ],
)
def test_a_job_names_what_is_wrong(body: dict[str, object], status: int, param: str | None, client: httpx.Client):
    answer = client.post("/v1/hub/jobs", json={"method": "quantise", "name": "small", "base": "m"} | body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_jobs_are_listed_cancelled_and_their_tenants(up: Gateway, client: httpx.Client) -> None:
    made = client.post("/v1/hub/jobs", json={"method": "quantise", "name": "small", "base": "m"}).json()
    assert (made["status"], made["method"], made["recipe"]) == ("queued", "quantise", {"type": "Q4_K"})
    assert client.get("/v1/hub/jobs").json()["data"][0] == made
    assert client.get(f"/v1/hub/jobs/{made['id']}/events").json()["data"] == []
    key = up.loop.do(key_of(up.services, Principal("evil", "mallory", ""), role="admin"))
    other = {"Authorization": f"Bearer {key}"}
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel")):
        url = f"{up.url}/v1/hub/jobs/{made['id']}{path}"
        assert httpx.request(method, url, headers=other).status_code == 404
    assert client.post(f"/v1/hub/jobs/{made['id']}/cancel").json()["status"] == "cancelled"


def test_openais_sdk_uploads_rows_and_tunes_a_model(up: Gateway, sdk: openai.OpenAI, client: httpx.Client) -> None:
    file = sdk.files.create(file=("rows.jsonl", ROWS), purpose="fine-tune")
    assert file.purpose == "fine-tune"
    job = sdk.fine_tuning.jobs.create(
        model="m",
        training_file=file.id,
        suffix="Our Atlas",
        seed=7,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}}},
        metadata={"team": "maps"},
    )
    assert (job.status, job.model, job.training_file, job.fine_tuned_model) == ("queued", "m", file.id, None)
    assert (job.seed, job.metadata, job.user_provided_suffix) == (7, {"team": "maps"}, "Our Atlas")  # ty: ignore[missing-attribute]
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size) == (2, 4)
    assert sdk.fine_tuning.jobs.retrieve(job.id) == job
    assert job.id in [each.id for each in sdk.fine_tuning.jobs.list(limit=1)]
    assert list(sdk.fine_tuning.jobs.list_events(job.id)) == []
    with pytest.raises(openai.BadRequestError, match="metadata"):
        sdk.fine_tuning.jobs.list(metadata={"team": "maps"})
    behind = client.get(f"/v1/hub/jobs/{job.id}").json()
    assert (behind["method"], behind["name"], behind["recipe"]["epochs"]) == ("sft", "our-atlas", 2)
    assert client.get(f"/v1/hub/datasets/{behind['dataset']}").json()["status"] == "building"
    assert sdk.fine_tuning.jobs.cancel(job.id).status == "cancelled"


def test_versions_of_a_model_with_a_long_name_have_a_shorter_one(sdk: openai.OpenAI, client: httpx.Client) -> None:
    file = sdk.files.create(file=("rows.jsonl", ROWS), purpose="fine-tune")
    job = sdk.fine_tuning.jobs.create(model=LONG, training_file=file.id)
    assert client.get(f"/v1/hub/jobs/{job.id}").json()["name"] == "a" * 47
    assert sdk.fine_tuning.jobs.cancel(job.id).status == "cancelled"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"training_file": "file-none"}, "training_file"),
        ({"validation_file": "file-none"}, "validation_file"),
        ({"model": "far"}, "model"),
        ({"suffix": "!!"}, "suffix"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations"),
        ({"method": {"type": "reinforcement"}}, "method.type"),
        ({"method": {"type": "supervised", "dpo": {"hyperparameters": {"beta": 1}}}}, "method.dpo"),
    ],
)
def test_openais_front_refuses_what_it_cannot_do(changes: dict[str, object], param: str, sdk: openai.OpenAI) -> None:
    file = sdk.files.create(file=("rows.jsonl", ROWS), purpose="fine-tune")
    with pytest.raises(openai.APIStatusError) as e:
        sdk.post("/fine_tuning/jobs", body={"model": "m", "training_file": file.id} | changes, cast_to=object)
    assert e.value.param == param
    assert e.value.status_code == (404 if param in ("training_file", "validation_file", "model") else 400)
