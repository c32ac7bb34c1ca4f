"""The list of what a mirror must hold, for the example stacks."""

import pytest

from infra.config_loader import load
from infra.versions import KUBERAY, KUBERAY_CRDS, POSTGRES
from tests.rendering.examples import EXAMPLES, settings, with_digests
from tools.mirror import items


def listed(name):
    (example,) = (e for e in EXAMPLES if e.name == f"Pulumi.{name}.yaml")
    return list(items(load(settings(example), frozenset(), "/secrets").config))


def test_the_list_contains_all_pulled_images():
    found = listed("kubeconfig")
    assert ("image", with_digests(f"registry.example.com/headrace/serving@sha256:{'0' * 64}"), "") in found
    assert ("image", KUBERAY.images["operator"], "") in found
    assert ("image", POSTGRES.images["database"], "") in found
    assert ("chart", f"{KUBERAY.location} {KUBERAY.name} {KUBERAY.version}", "") in found
    for name in KUBERAY_CRDS.files:
        assert ("file", f"{KUBERAY_CRDS.location}/{name}", "") in found


def test_names_in_a_mirror_are_listed_with_their_origin():
    found = {origin: pulled for kind, origin, pulled in listed("air-gapped") if kind == "image"}
    assert found[KUBERAY.images["operator"]] == KUBERAY.images["operator"].replace(
        "quay.io", "registry.example.com/quay"
    )


def test_existing_components_are_not_listed():
    assert not any("kuberay" in origin for _, origin, _ in listed("existing-add-ons"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.name)
def test_every_image_has_a_version(example):
    for kind, origin, _ in items(load(settings(example), frozenset(), "/secrets").config):
        if kind == "image":
            assert "@sha256:" in origin or ":" in origin.rpartition("/")[2], origin
