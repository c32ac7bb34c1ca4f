"""The workflow of a release: what it takes is pinned, each job may do what it must, and what it calls is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tools.images.build import RECIPES

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / ".github/workflows/release.yml").read_text()
WORKFLOW = yaml.safe_load(TEXT)
JOBS = WORKFLOW["jobs"]
STEPS = [(name, step) for name, job in JOBS.items() for step in job["steps"]]
PUBLISHES = {"contents": "read", "packages": "write", "id-token": "write", "attestations": "write"}


def test_only_tags_of_versions_start_it():
    assert WORKFLOW[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads `on` as true


def test_each_job_may_do_what_it_must_and_no_more():
    assert WORKFLOW["permissions"] == {}
    assert {name: job["permissions"] for name, job in JOBS.items()} == {
        "check": {"contents": "read"},
        "test": {"contents": "read"},
        "image": PUBLISHES,
        "chart": PUBLISHES,
        "release": {"contents": "write", "id-token": "write", "attestations": "write"},
    }


def test_nothing_is_published_before_the_tests_have_passed():
    assert JOBS["test"]["needs"] == "check"
    assert {name for name, job in JOBS.items() if "test" in job.get("needs", ())} == {"image", "chart"}
    assert {"image", "chart"} < set(JOBS["release"]["needs"])


def test_actions_are_pinned_by_their_commits():
    used = re.findall(r"uses: (.+)", TEXT)
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)] == []
    assert "actions/cache" not in TEXT


def test_checkouts_keep_no_token():
    checkouts = [step for _, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == len(JOBS)
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_scripts_are_given_what_is_not_theirs_by_the_environment():
    """What GitHub writes into a script is code there."""
    assert [step["run"] for _, step in STEPS if "${{" in step.get("run", "")] == []


def test_all_images_that_are_built_without_a_registry_are_published():
    assert sorted(JOBS["image"]["strategy"]["matrix"]["image"]) == sorted(RECIPES)


def test_the_tests_are_those_of_ci():
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert JOBS["test"]["steps"][-1] == ci["jobs"]["whole"]["steps"][-1]


@pytest.mark.parametrize("job", ["image", "chart"])
def test_what_is_pushed_is_signed_by_its_digest_and_has_its_provenance(job):
    steps = JOBS[job]["steps"]
    (push,) = (i for i, step in enumerate(steps) if step.get("id") == "push")
    (sign,) = (i for i, step in enumerate(steps) if "sign --yes" in step.get("run", ""))
    (attest,) = (i for i, step in enumerate(steps) if "attest-build-provenance" in step.get("uses", ""))
    assert push < sign < attest
    assert steps[sign]["env"] == {"REFERENCE": "${{ steps.push.outputs.reference }}"}
    assert steps[attest]["with"]["subject-digest"] == "${{ steps.push.outputs.digest }}"
    assert steps[attest]["with"]["push-to-registry"] is True
