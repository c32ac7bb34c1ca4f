"""Asks the registries, before anything is made, whether they have the stack's images.

It speaks the protocol of https://github.com/opencontainers/distribution-spec/blob/main/spec.md, with the access that
`docker login` stored for this host. What this host may not read, the nodes may; so only an image that a registry says
it does not have is a mistake.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from infra import chart
from infra.addons import ADDONS
from infra.config import StackConfig
from infra.mistakes import Mistake
from infra.resources.inquiry import Check, NoAnswer

DOCKER_HUB = "registry-1.docker.io"
LOGIN_NAMES = {DOCKER_HUB: "https://index.docker.io/v1/"}
"""Names of registries in Docker's file, where they are not their host."""

ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Reference:
    """Where an image is: the host of its registry, the repository, and a tag or digest."""

    host: str
    repository: str
    version: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parses `[host/]repository[:tag][@digest]` as Docker does."""
        name, _, digest = text.partition("@")
        first, slash, rest = name.partition("/")
        host, path = (first, rest) if slash and re.search(r"[.:]|^localhost$", first) else ("docker.io", name)
        path, _, tag = path.partition(":")
        if host == "docker.io":
            host, path = DOCKER_HUB, path if "/" in path else f"library/{path}"
        return cls(host, path, digest or tag or "latest")


def checks(config: StackConfig, transport: httpx.BaseTransport | None = None) -> list[Check]:
    """Returns a question for each image that its registry may not have."""
    found = []
    for image, key in _images(config).items():
        about = f"the image {image} of headrace:{key}"
        found.append(Check({about: partial(_answer, image, transport)}, partial(_judge, image, key)))
    return found


def _answer(image: str, transport: httpx.BaseTransport | None, limit_s: float) -> bool:
    """Returns whether the registry has an image."""
    reference = Reference.parse(image)
    try:
        with httpx.Client(timeout=limit_s, follow_redirects=True, transport=transport) as client:
            status = _status(client, reference)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as e:
        raise NoAnswer(f"{reference.host} does not answer: {str(e) or type(e).__name__}") from None
    if status in (401, 403):
        raise NoAnswer(f"this host may not read it in {reference.host}; the nodes may")
    if status not in (200, 404):
        raise NoAnswer(f"{reference.host} answers with status {status}")
    return status == 200


def _judge(image: str, key: str, answers: Mapping[str, bool]) -> list[Mistake]:
    fix = "push it, or correct its name, tag or digest"
    problem = f"names {image}, which the registry does not have"
    return [Mistake(key, problem, fix) for there in answers.values() if not there]


def _images(config: StackConfig) -> dict[str, str]:
    """Returns the settings that name images, by image: those of the stack, and those of add-ons in a mirror."""
    named: list[tuple[str, str]] = [("image", chart.image_reference(config.image))]
    for i, pool in enumerate(config.pools):
        if pool.image:
            named.append((f"pools[{i}].image", chart.image_reference(pool.image)))
        for j, volume in enumerate(pool.volumes):
            if volume.image:
                named.append((f"pools[{i}].volumes[{j}].image", config.mirror.image(volume.image)))
    for addon in ADDONS if config.mirror.images else ():
        if addon.choice(config) == "install":
            named += [(f"addons.{addon.name}", image) for image in addon.images(config).values()]
    return {image: key for key, image in reversed(named)}


def _status(client: httpx.Client, reference: Reference) -> int:
    """Returns the status of a registry's answer for an image. Raises `httpx.HTTPError` without an answer."""
    url = f"https://{reference.host}/v2/{reference.repository}/manifests/{reference.version}"
    headers = {"Accept": ACCEPT}
    response = client.head(url, headers=headers)
    if response.status_code == 401 and (access := _access(client, reference, response)):
        response = client.head(url, headers={**headers, "Authorization": access})
    return response.status_code


def _access(client: httpx.Client, reference: Reference, refused: httpx.Response) -> str:
    """Returns the header for a second attempt, by the challenge of the first; empty if there is none."""
    scheme, _, rest = refused.headers.get("www-authenticate", "").partition(" ")
    login = _login(reference.host)
    if scheme.lower() == "basic":
        return f"Basic {login}" if login else ""
    asked = dict(_PARAMETER.findall(rest))
    realm = asked.pop("realm", "")
    if scheme.lower() != "bearer" or not realm.startswith("https://"):
        return ""
    asked.setdefault("scope", f"repository:{reference.repository}:pull")
    answer = client.get(realm, params=asked, headers={"Authorization": f"Basic {login}"} if login else {})
    body = answer.json() if answer.is_success else {}
    token = body.get("token") or body.get("access_token")
    return f"Bearer {token}" if token else ""


def _login(host: str) -> str:
    """Returns what `docker login` stored for a registry, in base64; empty if nothing, or in a credential helper."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        entry = json.loads((folder / "config.json").read_bytes())["auths"][LOGIN_NAMES.get(host, host)]["auth"]
        return entry if base64.b64decode(entry, validate=True).count(b":") else ""
    except (OSError, ValueError, LookupError, TypeError):
        return ""
