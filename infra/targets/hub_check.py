"""Asks the Hugging Face Hub, before anything is made, whether the stack's tokens may read its models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from infra.config import StackConfig
from infra.config_loader import secret_file
from infra.mistakes import Mistake
from serving.config import VllmModel

HUB = "https://huggingface.co"
TIMEOUT_S = 10


def mistakes(
    config: StackConfig, secrets: Mapping[str, SecretStr], transport: httpx.BaseTransport | None = None
) -> list[Mistake]:
    """Reports models of the Hub that do not exist, or that their token may not read.

    Nothing is reported where the Hub cannot be asked: this host need not have access to it.
    """
    found: list[Mistake] = []
    with httpx.Client(timeout=TIMEOUT_S, follow_redirects=True, transport=transport) as client:
        for i, model in enumerate(config.models):
            if isinstance(model, VllmModel):
                secret = secrets.get(secret_file(model.name, "token"))
                if model.token is None or secret is not None:  # else the token is known only to the pods
                    found += _refused(client, model, secret.get_secret_value() if secret else "", f"models[{i}]")
    return found


def _refused(client: httpx.Client, model: VllmModel, token: str, at: str) -> Iterator[Mistake]:
    own = [("source", model.source)]
    for key, source in [*own, *((f"loras[{j}].source", lora.source) for j, lora in enumerate(model.loras))]:
        if not source.startswith("hf://"):
            continue
        name, _, revision = source.removeprefix("hf://").partition("@")
        hub = (model.endpoint_of(source) or HUB).rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token and model.has_own_access(source) else {}
        url = f"{hub}/api/models/{name}/revision/{quote(revision or 'main', safe='')}"
        try:
            response = client.get(url, headers=headers)
        except httpx.HTTPError:
            return  # and no further source of the model, each of which would take as long
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
