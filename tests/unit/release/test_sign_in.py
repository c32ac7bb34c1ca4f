"""The script by which a job of CI signs in to a cloud, with programs that only write down how they were called."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROVIDER = "projects/1/locations/global/workloadIdentityPools/github/providers/github"

pytestmark = pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq, which runners of GitHub have")


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    """A folder with the runner's programs; `calls` has a line for each call."""
    for name, printed in (("curl", '{"value": "a-token"}'), ("gcloud", ""), ("az", "")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho {name} \"$@\" >>{tmp_path}/calls\necho '{printed}'\n")
        program.chmod(0o755)
    return tmp_path


def sign_in(runner: Path, **variables: str) -> tuple[dict[str, str], str, int]:
    """Runs the script; returns the variables of later steps, the calls, and the exit status."""
    given = {
        "PATH": f"{runner}:/usr/local/bin:/usr/bin:/bin",
        "RUNNER_TEMP": str(runner),
        "GITHUB_ENV": str(runner / "env"),
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-the-job",
        "ACTIONS_ID_TOKEN_REQUEST_URL": "https://token.example?a=b",
    }
    done = subprocess.run([ROOT / "examples/ci/sign-in.sh"], env={**given, **variables}, capture_output=True)
    written, calls = runner / "env", runner / "calls"
    lines = written.read_text().splitlines() if written.exists() else []
    return dict(line.split("=", 1) for line in lines), calls.read_text() if calls.exists() else "", done.returncode


def test_a_workflow_signs_in_to_aws_by_its_token(runner: Path) -> None:
    role = "arn:aws:iam::123456789012:role/preview"
    variables, calls, status = sign_in(runner, CLOUD="aws", AWS_ROLE=role, AWS_REGION="eu-central-1")
    assert status == 0
    file = Path(variables.pop("AWS_WEB_IDENTITY_TOKEN_FILE"))
    assert variables == {"AWS_ROLE_ARN": role, "AWS_REGION": "eu-central-1"}
    assert file.read_text().strip() == "a-token"
    assert file.stat().st_mode & 0o077 == 0
    assert "https://token.example?a=b&audience=sts.amazonaws.com" in calls


def test_a_workflow_signs_in_to_google_cloud_by_its_token(runner: Path) -> None:
    account = "preview@example.iam.gserviceaccount.com"
    variables, calls, status = sign_in(runner, CLOUD="gcp", GCP_PROVIDER=PROVIDER, GCP_ACCOUNT=account)
    assert status == 0
    file = Path(variables["GOOGLE_APPLICATION_CREDENTIALS"])
    credentials = json.loads(file.read_text())
    assert credentials["audience"] == f"//iam.googleapis.com/{PROVIDER}"
    assert credentials["service_account_impersonation_url"].endswith(f"/{account}:generateAccessToken")
    assert Path(credentials["credential_source"]["file"]).read_text().strip() == "a-token"
    assert f"audience=https://iam.googleapis.com/{PROVIDER}" in calls
    assert f"gcloud auth login --brief --cred-file {file}" in calls


def test_a_workflow_signs_in_to_azure_by_its_token(runner: Path) -> None:
    own = {"AZURE_CLIENT": "client", "AZURE_TENANT": "tenant", "AZURE_SUBSCRIPTION": "subscription"}
    variables, calls, status = sign_in(runner, CLOUD="azure", **own)
    assert (variables, status) == ({}, 0)
    assert "--username client --tenant tenant --federated-token a-token" in calls
    assert "az account set --subscription subscription" in calls


def test_another_cloud_is_an_error(runner: Path) -> None:
    assert sign_in(runner, CLOUD="")[2] == 1
