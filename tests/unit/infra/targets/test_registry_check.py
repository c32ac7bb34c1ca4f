"""Images that a registry does not have are mistakes before anything is made. The answers are those of registries."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.config import StackConfig
from infra.resources import inquiry
from infra.targets import registry_check
from infra.targets.registry_check import DOCKER_HUB, Reference

DIGEST = f"sha256:{'ab' * 32}"
IMAGE = {"registry": "registry.example.com", "repository": "team/serving", "digest": DIGEST}

UNKNOWN = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": {"Tag": DIGEST}}]}
CHALLENGES = {
    "docker hub": 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
    'scope="repository:team/serving:pull"',
    "ghcr": 'Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:team/serving:pull"',
    "ecr": 'Basic realm="https://123456789012.dkr.ecr.eu-central-1.amazonaws.com/",service="ecr.amazonaws.com"',
}
"""What registries answer to a request without access."""


@pytest.fixture(autouse=True)
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's folder of this host, in which nobody has signed in."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


class Registry:
    """A registry that lets in whom `letter` admits, and has no image unless `has` is true."""

    def __init__(self, challenge: str = "", login: str = "", has: bool = False) -> None:
        self.challenge, self.login, self.has = challenge, login, has
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        given = request.headers.get("authorization", "")
        if request.method == "GET":
            asked = dict(request.url.params)
            assert asked["scope"] == "repository:team/serving:pull"
            assert asked["service"]
            admitted = not self.login or given == f"Basic {self.login}"
            return httpx.Response(200, json={"token": "let-in"}) if admitted else httpx.Response(401)
        assert request.url.path == f"/v2/team/serving/manifests/{DIGEST}"
        if self.challenge and given not in ("Bearer let-in", f"Basic {self.login}"):
            return httpx.Response(401, headers={"www-authenticate": self.challenge})
        return httpx.Response(200) if self.has else httpx.Response(404, json=UNKNOWN)


def mistakes(registry: Any, **settings: Any) -> list[str]:
    config = StackConfig.model_validate({"target": "kubeconfig", "image": IMAGE, **settings})
    return [str(m) for m in findings(registry, config).mistakes]


def findings(registry: Any, config: StackConfig) -> inquiry.Findings:
    return inquiry.ask(registry_check.checks(config, httpx.MockTransport(registry)))


@pytest.mark.parametrize("challenge", ["", CHALLENGES["docker hub"], CHALLENGES["ghcr"]])
def test_an_image_that_is_not_there_is_a_mistake(challenge: str) -> None:
    assert mistakes(Registry(challenge)) == [
        f"headrace:image: names registry.example.com/team/serving@{DIGEST}, which the registry does not have; "
        "push it, or correct its name, tag or digest"
    ]
    assert mistakes(Registry(challenge, has=True)) == []


@pytest.mark.parametrize("challenge", CHALLENGES.values(), ids=CHALLENGES)
def test_a_login_of_this_host_is_used(challenge: str, docker: Path) -> None:
    login = base64.b64encode(b"ann:secret").decode()
    assert mistakes(Registry(challenge, login)) == [], "the nodes may read what this host may not"
    (docker / "config.json").write_text(json.dumps({"auths": {"registry.example.com": {"auth": login}}}))
    assert len(mistakes(Registry(challenge, login))) == 1
    assert mistakes(Registry(challenge, login, has=True)) == []


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"auths": {}}', '{"auths": {"registry.example.com": {}}}', '{"credsStore": "desktop"}'],
)
def test_a_login_that_cannot_be_read_is_none(content: str, docker: Path) -> None:
    (docker / "config.json").write_text(content)
    registry = Registry(CHALLENGES["ecr"], "x")
    assert mistakes(registry) == []
    assert len(registry.asked) == 1


def test_credentials_are_not_sent_in_plain_text(docker: Path) -> None:
    login = base64.b64encode(b"ann:secret").decode()
    (docker / "config.json").write_text(json.dumps({"auths": {"registry.example.com": {"auth": login}}}))
    registry = Registry('Bearer realm="http://auth.example.com/token",service="s"', login)
    assert mistakes(registry) == []
    assert [r.url.scheme for r in registry.asked] == ["https"]


HERE = f"the image registry.example.com/team/serving@{DIGEST} of headrace:image"


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (401, "this host may not read it in registry.example.com; the nodes may"),
        (403, "this host may not read it in registry.example.com; the nodes may"),
        (429, "registry.example.com answers with status 429"),
        (503, "registry.example.com answers with status 503"),
    ],
)
def test_other_answers_are_no_mistake_but_named(status: int, why: str) -> None:
    config = StackConfig.model_validate({"target": "kubeconfig", "image": IMAGE})
    found = findings(lambda request: httpx.Response(status), config)
    assert (found.mistakes, found.unanswered) == ([], {HERE: why})


def test_a_registry_that_does_not_answer_is_named_with_each_image() -> None:
    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectTimeout("no network")

    pools = [{"name": "serving"}, {"name": "gpu", "image": {**IMAGE, "repository": "team/vllm"}}]
    found = findings(silent, StackConfig.model_validate({"target": "kubeconfig", "image": IMAGE, "pools": pools}))
    assert found.mistakes == []
    assert found.unanswered[HERE] == "registry.example.com does not answer: no network"
    assert len(found.unanswered) == 2


def test_images_of_pools_and_volumes_and_of_a_mirror_are_asked_for() -> None:
    pools = [
        {"name": "serving"},
        {"name": "gpu", "image": {**IMAGE, "repository": "team/vllm"}},
        {"name": "more", "volumes": [{"image": f"quay.io/weights/llama@{DIGEST}", "path": "/weights"}]},
    ]

    def nothing(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json=UNKNOWN)

    keys = [said.partition(": ")[0] for said in mistakes(nothing, pools=pools)]
    assert sorted(keys) == ["headrace:image", "headrace:pools[1].image", "headrace:pools[2].volumes[0].image"]
    mirrored = mistakes(nothing, pools=pools, mirror={"images": {"quay.io": "mirror.example.com/quay"}})
    assert any("mirror.example.com/quay/weights/llama@" in said for said in mirrored)
    assert any(said.startswith("headrace:addons.") and "mirror.example.com/quay/" in said for said in mirrored)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("busybox", Reference(DOCKER_HUB, "library/busybox", "latest")),
        ("docker.io/vllm/vllm-openai:v1", Reference(DOCKER_HUB, "vllm/vllm-openai", "v1")),
        ("headrace/serving:1", Reference(DOCKER_HUB, "headrace/serving", "1")),
        ("localhost/a:1", Reference("localhost", "a", "1")),
        ("r.example.com:5000/a/b:1", Reference("r.example.com:5000", "a/b", "1")),
        (f"r.example.com/a/b:1@{DIGEST}", Reference("r.example.com", "a/b", DIGEST)),
    ],
)
def test_references_are_read_as_docker_reads_them(text: str, reference: Reference) -> None:
    assert Reference.parse(text) == reference
