"""Models that their token may not read are mistakes before anything is made; a Hub that does not answer is named."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from infra.config import StackConfig
from infra.resources import inquiry
from infra.targets import hub_check

SOURCE = "hf://acme/llama@v1"
MODEL = f"the model {SOURCE} of headrace:models[0].source"


def found(answer: httpx.Response | Exception, *, secret: str = "", sent: str | None = None, **model: Any) -> list[str]:
    """Returns the mistakes, and what has no answer.

    `sent` is the token that the Hub shall be sent, if it is not the model's.
    """
    asked: list[httpx.Request] = []

    def hub(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    secrets = {"model-m-token": SecretStr(secret)} if secret else {}
    model = {"name": "m", "engine": "vllm", "source": SOURCE, **model}
    model |= {"token": {"ref": "file:/etc/headrace/secrets/model-m-token"}} if secret else {}
    config = StackConfig.model_validate({"models": [model], "assistants": []})
    answers = inquiry.ask(hub_check.checks(config, secrets, httpx.MockTransport(hub)))
    for request in asked:
        assert request.headers.get("authorization") == (
            f"Bearer {token}" if (token := secret if sent is None else sent) else None
        )
        assert request.url.path == "/api/models/acme/llama/revision/v1"
    return [str(mistake) for mistake in answers.mistakes] or [
        f"? {at}: {why}" for at, why in answers.unanswered.items()
    ]


@pytest.mark.parametrize(
    ("status", "code", "token", "expected"),
    [
        (200, "", "", ""),
        (200, "", "t", ""),
        (
            503,
            "",
            "",
            f"? {MODEL}: https://huggingface.co answers with status",
        ),
        (
            403,
            "",
            "t",
            f"? {MODEL}: https://huggingface.co answers with status",
        ),
        (401, "GatedRepo", "", "headrace:models[0].token: is missing, and acme/llama is gated; accept the conditions"),
        (403, "GatedRepo", "t", "headrace:models[0].token: may not read this gated model"),
        (401, "RepoNotFound", "", "headrace:models[0].source: names acme/llama, which does not exist on"),
        (404, "RepoNotFound", "t", "headrace:models[0].source: names acme/llama, which does not exist on"),
        (401, "", "t", "headrace:models[0].token: is refused by https://huggingface.co"),
        (404, "RevisionNotFound", "", "headrace:models[0].source: names a revision that acme/llama does not have"),
    ],
)
def test_answers_of_the_hub_become_mistakes(status: int, code: str, token: str, expected: str) -> None:
    mistakes = found(httpx.Response(status, headers={"x-error-code": code}), secret=token)
    assert [mistake[: len(expected)] for mistake in mistakes] == ([expected] if expected else [])


def test_unreachable_and_private_sources_are_no_mistakes() -> None:
    assert found(httpx.ConnectError("no network")) == [f"? {MODEL}: https://huggingface.co does not answer: no network"]
    refused = httpx.Response(401)
    assert found(refused, source="s3://b/c") == []
    elsewhere = {"ref": "file:/etc/headrace/secrets/of-a-store"}
    assert found(refused, token=elsewhere) == [f"? {MODEL}: its token is known to the pods alone"]
    [adapter] = found(refused, source="s3://b/c", loras=[{"name": "l", "source": SOURCE}])
    assert adapter.startswith("headrace:models[0].loras[0].source: names acme/llama")


def test_the_hub_is_not_sent_the_token_of_a_bucket() -> None:
    lora = {"name": "l", "source": SOURCE}
    assert found(httpx.Response(200), secret="of-the-bucket", sent="", source="s3://b/c", loras=[lora]) == []
