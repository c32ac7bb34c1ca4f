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
from dataclasses import dataclass
from pathlib import Path

import httpx

from infra import chart
from infra.addons import ADDONS
from infra.config import StackConfig
from infra.mistakes import Mistake

TIMEOUT_S = 10

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


def mistakes(config: StackConfig, transport: httpx.BaseTransport | None = None) -> list[Mistake]:
    """Reports images that their registry does not have.

    Nothing is reported where a registry cannot be asked: this host need not have access to it.
    """
    found: list[Mistake] = []
    silent: set[str] = set()
    with httpx.Client(timeout=TIMEOUT_S, follow_redirects=True, transport=transport) as client:
        for image, key in _images(config).items():
            reference = Reference.parse(image)
            if reference.host in silent:
                continue
            try:
                missing = _is_missing(client, reference)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError):
                silent.add(reference.host)
                continue
            if missing:
                fix = "push it, or correct its name, tag or digest"
                found.append(Mistake(key, f"names {image}, which the registry does not have", fix))
    return found


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


def _is_missing(client: httpx.Client, reference: Reference) -> bool:
    """Returns whether the registry says that it does not have an image. Raises `httpx.HTTPError` without an answer."""
    url = f"https://{reference.host}/v2/{reference.repository}/manifests/{reference.version}"
    headers = {"Accept": ACCEPT}
    response = client.head(url, headers=headers)
    if response.status_code == 401 and (access := _access(client, reference, response)):
        response = client.head(url, headers={**headers, "Authorization": access})
    return response.status_code == 404


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
