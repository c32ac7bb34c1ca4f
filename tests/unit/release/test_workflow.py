"""The workflows: actions are pinned, jobs have the least permissions, and a release publishes only what was tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tools.images.build import RECIPES

ROOT = Path(__file__).parents[3]
EXAMPLES = {path.name: path.read_text() for path in (ROOT / "examples/ci").glob("*.yml")}
WORKFLOWS = {path.name: path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml")} | EXAMPLES
TEXT = WORKFLOWS["release.yml"]
WORKFLOW = yaml.safe_load(TEXT)
JOBS = WORKFLOW["jobs"]
PUBLISHES = {"contents": "read", "packages": "write", "id-token": "write", "attestations": "write"}


def test_only_version_tags_start_a_release():
    assert WORKFLOW[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads `on` as true


def test_jobs_have_the_least_permissions():
    assert WORKFLOW["permissions"] == {}
    assert {name: job["permissions"] for name, job in JOBS.items()} == {
        "check": {"contents": "read"},
        "test": {"contents": "read"},
        "image": PUBLISHES,
        "gpu-image": PUBLISHES,
        "chart": PUBLISHES,
        "wheel": {"contents": "read", "id-token": "write", "attestations": "write"},
        "release": {"contents": "write", "id-token": "write", "attestations": "write"},
        "publish": {"contents": "read", "id-token": "write"},
    }


def test_nothing_is_published_before_the_tests_have_passed():
    assert JOBS["test"]["needs"] == "check"
    publish = {"image", "gpu-image", "chart", "wheel"}
    assert {name for name, job in JOBS.items() if "test" in job.get("needs", ())} == publish
    assert publish < set(JOBS["release"]["needs"])


@pytest.mark.parametrize("text", WORKFLOWS.values(), ids=WORKFLOWS)
def test_actions_are_pinned_to_commits(text):
    used = re.findall(r"uses: (.+)", text)
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)] == []


def test_an_action_has_the_same_version_in_all_workflows():
    used = set(re.findall(r"uses: (.+)@(.+)", "\n".join(WORKFLOWS.values())))
    assert len(used) == len({action for action, _ in used})


def test_a_release_uses_no_cache():
    assert "actions/cache" not in TEXT
    assert "cache: true" not in TEXT


@pytest.mark.parametrize("text", WORKFLOWS.values(), ids=WORKFLOWS)
def test_checkouts_do_not_persist_the_token(text):
    jobs = yaml.safe_load(text)["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == len(jobs)
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("text", WORKFLOWS.values(), ids=WORKFLOWS)
def test_scripts_contain_no_expressions(text):
    """GitHub pastes the value of an expression into a script, where it would run as code; the environment is safe."""
    steps = [step for job in yaml.safe_load(text)["jobs"].values() for step in job["steps"]]
    assert [step["run"] for step in steps if "${{" in step.get("run", "")] == []


def test_every_image_is_published():
    published = {name: JOBS[name]["strategy"]["matrix"]["image"] for name in ("image", "gpu-image")}
    assert sorted(published["image"]) == sorted(RECIPES)
    folders = sorted(folder.name for folder in (ROOT / "images").iterdir())
    assert sorted([*published["image"], *published["gpu-image"]]) == folders


@pytest.mark.parametrize("job", ["image", "gpu-image"])
def test_the_release_names_each_image_and_has_its_bill_of_materials(job):
    steps = JOBS[job]["steps"]
    scripts = "\n".join(step.get("run", "") for step in steps)
    assert 'tee "out/$IMAGE.reference"' in scripts
    assert '--output "out/$IMAGE.cdx.json"' in scripts or '--output "out/$IMAGE.tar"' in scripts
    assert '--type cyclonedx --predicate "out/$IMAGE.cdx.json" "$REFERENCE"' in scripts
    assert steps[-1]["with"]["path"].split() == ["out/*.reference", "out/*.cdx.json"]
    # Names of artifacts are unique in a run.
    assert steps[-1]["with"]["name"] == "image-${{ matrix.image }}"
    *_, created = (step["run"] for step in JOBS["release"]["steps"] if "run" in step)
    assert "out/*.reference" in created
    assert "out/*.cdx.json" in created


def test_gpu_images_are_built_and_listed_as_the_page_says():
    scripts = "\n".join(step.get("run", "") for step in JOBS["gpu-image"]["steps"])
    page = (ROOT / "docs/how-to/build-images.md").read_text()
    options = page.split("## Build the GPU images")[1]
    for command in ("docker build", "docker push", "docker inspect", "docker export"):
        assert command in scripts
        assert command in page
    assert "-m tools.images bill" in scripts
    assert "-m tools.images bill" in options


def test_a_release_runs_the_tests_of_ci():
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert JOBS["test"]["steps"][-1] == ci["jobs"]["whole"]["steps"][-1]


@pytest.mark.parametrize("job", ["image", "gpu-image", "chart"])
def test_pushed_artifacts_are_signed_and_attested_by_digest(job):
    steps = JOBS[job]["steps"]
    (push,) = (i for i, step in enumerate(steps) if step.get("id") == "push")
    (sign,) = (i for i, step in enumerate(steps) if "sign --yes" in step.get("run", ""))
    (attest,) = (i for i, step in enumerate(steps) if "attest-build-provenance" in step.get("uses", ""))
    assert push < sign < attest
    assert steps[sign]["env"] == {"REFERENCE": "${{ steps.push.outputs.reference }}"}
    assert steps[attest]["with"]["subject-digest"] == "${{ steps.push.outputs.digest }}"
    assert steps[attest]["with"]["push-to-registry"] is True


def test_the_wheel_of_the_release_is_the_attested_one():
    """The index takes a version once, so it gets it last."""
    steps = JOBS["wheel"]["steps"]
    (built,) = (i for i, step in enumerate(steps) if "tools.release wheel --output out" in step.get("run", ""))
    (attested,) = (i for i, step in enumerate(steps) if step.get("with", {}).get("subject-path") == "out/*.whl")
    (handed_on,) = (i for i, step in enumerate(steps) if step.get("with", {}).get("path") == "out/*.whl")
    assert built < attested < handed_on
    *_, created = (step["run"] for step in JOBS["release"]["steps"] if "run" in step)
    *_, published = (step["run"] for step in JOBS["publish"]["steps"] if "run" in step)
    assert JOBS["publish"]["needs"] == "release"
    assert created.rstrip().endswith("out/*.whl")
    assert "gh release create" in created
    assert published == "uv publish --trusted-publishing always out/*.whl"


def test_examples_may_only_report():
    """They have the cloud's identity, and change neither the repository nor the stack."""
    jobs = {name: next(iter(yaml.safe_load(text)["jobs"].values())) for name, text in EXAMPLES.items()}
    reads = {"contents": "read", "id-token": "write"}
    assert {name: job["permissions"] for name, job in jobs.items()} == {
        "preview.yml": {**reads, "pull-requests": "write"},
        "drift.yml": {**reads, "issues": "write"},
    }
    assert jobs["preview.yml"]["if"] == "github.event.pull_request.head.repo.full_name == github.repository"
    runs = {name: [s["run"] for s in job["steps"] if s.get("run", "").startswith("make")] for name, job in jobs.items()}
    assert runs == {
        "preview.yml": ["make preview 2>&1 | tee preview.txt"],
        "drift.yml": ["make drift 2>&1 | tee drift.txt"],
    }
    # Without it, `tee` would hide the failure.
    assert all(s["shell"] == "bash" for job in jobs.values() for s in job["steps"] if "tee" in s.get("run", ""))
