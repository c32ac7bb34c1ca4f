"""Asks the Hugging Face Hub, before anything is made, whether the stack's tokens may read its models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from infra.config import StackConfig
from infra.config_loader import secret_file
from infra.mistakes import Mistake
from infra.resources.inquiry import Check, NoAnswer
from serving.config import VllmModel

HUB = "https://huggingface.co"


def checks(
    config: StackConfig, secrets: Mapping[str, SecretStr], transport: httpx.BaseTransport | None = None
) -> Iterator[Check]:
    """Yields questions for models of the Hub that may not exist, or that their token may not read."""
    for i, model in enumerate(config.models):
        if not isinstance(model, VllmModel):
            continue
        secret = secrets.get(secret_file(model.name, "token"))
        token = secret.get_secret_value() if secret else ""
        own = [("source", model.source)]
        for key, source in [*own, *((f"loras[{j}].source", lora.source) for j, lora in enumerate(model.loras))]:
            if not source.startswith("hf://"):
                continue
            about = f"the model {source} of headrace:models[{i}].{key}"
            if model.token is not None and secret is None:
                yield Check({}, lambda _: [], {about: "its token is known to the pods alone"})
                continue
            ask = partial(_answer, model, source, token, transport)
            yield Check({about: ask}, partial(_judge, f"models[{i}]", key, model, source, token))


def _answer(
    model: VllmModel, source: str, token: str, transport: httpx.BaseTransport | None, limit_s: float
) -> httpx.Response:
    name, _, revision = source.removeprefix("hf://").partition("@")
    headers = {"Authorization": f"Bearer {token}"} if token and model.has_own_access(source) else {}
    hub = _hub(model, source)
    url = f"{hub}/api/models/{name}/revision/{quote(revision or 'main', safe='')}"
    try:
        with httpx.Client(timeout=limit_s, follow_redirects=True, transport=transport) as client:
            response = client.get(url, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as e:
        raise NoAnswer(f"{hub} does not answer: {str(e) or type(e).__name__}") from None
    known = response.headers.get("x-error-code") in ("GatedRepo", "RevisionNotFound")
    if response.status_code not in (200, 401, 404) and not known:
        raise NoAnswer(f"{hub} answers with status {response.status_code}")
    return response


def _hub(model: VllmModel, source: str) -> str:
    return (model.endpoint_of(source) or HUB).rstrip("/")


def _judge(
    at: str, key: str, model: VllmModel, source: str, token: str, answers: Mapping[str, httpx.Response]
) -> Iterator[Mistake]:
    for response in answers.values():
        name, hub = source.removeprefix("hf://").partition("@")[0], _hub(model, source)
        status, code = response.status_code, response.headers.get("x-error-code", "")
        token_key, command = f"{at}.token", f"`pulumi config set --secret --path 'headrace:{at}.token'`"
        if code == "GatedRepo":
            problem = "may not read this gated model" if token else f"is missing, and {name} is gated"
            yield Mistake(token_key, problem, f"accept the conditions on {hub}/{name}, and use {command}")
        elif code == "RevisionNotFound":
            yield Mistake(f"{at}.{key}", f"names a revision that {name} does not have", "correct it, or leave it out")
        elif status == 401 and token:
            yield Mistake(token_key, f"is refused by {hub}", f"create a token that may read {name}, and use {command}")
        elif status in (401, 404):
            problem = f"names {name}, which does not exist on {hub}, or is private"
            yield Mistake(f"{at}.{key}", problem, f"correct it, or set a token by {command}")
