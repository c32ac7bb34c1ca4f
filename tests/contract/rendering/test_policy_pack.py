"""The policy pack in a real preview, which it lets pass or stops."""

from __future__ import annotations

import pytest
import yaml

from infra.layout import CHECKOUT
from infra.policies.catalogue import RULES
from tests.rendering.examples import EXAMPLES, settings
from tests.rendering.project import Project

PACK = ("--policy-pack", str(CHECKOUT / "infra" / "policies"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("policies")
    return Project.make(folder, settings(EXAMPLES[0], render=str(folder / "manifests")))


def test_a_preview_of_a_conforming_stack_passes(project: Project) -> None:
    said = project.pulumi("preview", *PACK)
    assert "headrace@v" in said, "the policy pack ran"
    assert "mandatory" not in said


def test_a_preview_of_a_violating_stack_is_blocked(project: Project) -> None:
    good = yaml.safe_load(project.file.read_text())["config"]
    bad = {**good, "headrace:image": {"registry": "registry.example.com", "repository": "a", "tag": "1"}}
    project.configure({key.removeprefix("headrace:"): value for key, value in bad.items()})
    try:
        with pytest.raises(AssertionError) as blocked:
            project.pulumi("preview", *PACK)
    finally:
        project.configure({key.removeprefix("headrace:"): value for key, value in good.items()})
    said = " ".join(str(blocked.value).split())
    assert "image-digest" in said
    assert "RayService/headrace/headrace" in said
    assert RULES["image-digest"].remediation in said
    assert "[mandatory]" in said
