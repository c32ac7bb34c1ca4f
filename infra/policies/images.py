"""Rules about container images."""

from __future__ import annotations

import re
from collections.abc import Iterator

from infra.policies.manifest import PlannedResource
from infra.policies.pods import pods
from infra.policies.rule import resource_rule
from infra.policies.values import lookup, satisfies

DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
TAG = re.compile(r":([\w][\w.-]{0,127})(@|$)")


def _container_images(resource: PlannedResource) -> Iterator[tuple[str, object]]:
    for pod in pods(resource):
        for container in pod.containers:
            image = lookup(container.spec, "image")
            if container.complete or image is not None:
                yield container.name, image


@resource_rule(
    "image-digest",
    "Every container image has a digest.",
    "Write the image as `registry/repository@sha256:<64 hex digits>`; a tag can be moved to another image.",
)
def _digest(resource: PlannedResource) -> Iterator[str]:
    for name, image in _container_images(resource):
        if not satisfies(image, lambda i: isinstance(i, str) and DIGEST.search(i)):
            yield f"{name} runs the image {image or '(none)'} without a digest"


@resource_rule(
    "image-not-latest",
    "No container image has the tag `latest`.",
    "Use a version as the tag, or a digest without a tag.",
)
def _latest(resource: PlannedResource) -> Iterator[str]:
    for name, image in _container_images(resource):
        if isinstance(image, str) and _is_latest(image):
            yield f"{name} runs the latest {image}"


def _is_latest(image: str) -> bool:
    # Only the part after the last slash has the tag: a registry may have a port.
    last = image.rpartition("/")[2]
    tag = TAG.search(last)
    return tag.group(1) == "latest" if tag else not DIGEST.search(last)
