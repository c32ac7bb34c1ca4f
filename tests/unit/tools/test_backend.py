"""Where a stack's state is: as the configuration or the environment says, and an error where they disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.report import ToolError
from tools.stack import backend
from tools.stack.backend import LOCAL, URL, Backend, backend_of, check_keeping, lock_advice

BUCKET = {"url": "s3://state?region=eu-central-1", "secrets_provider": "awskms://alias/state?region=eu-central-1"}


@pytest.mark.parametrize(
    ("settings", "environment", "expected"),
    [
        (None, {}, Backend(LOCAL.as_uri())),
        (BUCKET, {}, Backend(BUCKET["url"], BUCKET["secrets_provider"])),
        (BUCKET, {URL: BUCKET["url"]}, Backend(BUCKET["url"], BUCKET["secrets_provider"])),
        ({"only_in_checkout": True}, {}, Backend(LOCAL.as_uri(), only_in_checkout=True)),
        (None, {URL: "gs://state"}, Backend("gs://state")),
        ({"secrets_provider": "gcpkms://key"}, {URL: "gs://state"}, Backend("gs://state", "gcpkms://key")),
    ],
)
def test_the_backend_is_that_of_the_settings_or_the_environment(
    settings: Any, environment: dict[str, str], expected: Backend
) -> None:
    assert backend_of(settings, "aws", environment) == expected


@pytest.mark.parametrize(
    ("settings", "target", "environment", "said"),
    [
        (BUCKET, "aws", {URL: "s3://other"}, "names a backend other than headrace:backend.url, s3://state"),
        ({"url": "http://state"}, "aws", {}, "headrace:backend.url: 'http://state' is not well formed"),
        ({"uri": "s3://state"}, "aws", {}, "headrace:backend.uri: is not a known setting; did you mean 'url'"),
        (BUCKET, "local", {}, "headrace:backend"),
        (
            {**BUCKET, "only_in_checkout": True},
            "aws",
            {},
            "names a bucket, so that only_in_checkout contradicts",
        ),
    ],
)
def test_a_backend_that_cannot_be_meant(settings: Any, target: str, environment: dict[str, str], said: str) -> None:
    with pytest.raises(ToolError, match=said):
        backend_of(settings, target, environment)


@pytest.mark.parametrize("target", ["aws", "gcp", "azure"])
@pytest.mark.parametrize("url", [LOCAL.as_uri(), "file:///elsewhere"])
def test_the_state_of_a_cluster_in_a_cloud_must_be_kept(target: str, url: str) -> None:
    with pytest.raises(ToolError, match=r"headrace:backend\.url: is missing.* --stack mine migrate.*only_in_checkout"):
        check_keeping(Backend(url), target, "mine")
    check_keeping(Backend(url, only_in_checkout=True), target, "mine")


@pytest.mark.parametrize("url", ["s3://a", "https://api.pulumi.com"])
def test_a_state_that_others_can_read_is_kept(url: str) -> None:
    check_keeping(Backend(url), "aws", "mine")


@pytest.mark.parametrize("target", ["local", "kubeconfig", "onprem"])
def test_the_state_of_other_stacks_may_be_in_the_checkout(target: str) -> None:
    check_keeping(Backend(), target, "mine")


def test_only_a_state_of_this_checkout_is_its_own() -> None:
    assert not Backend().shared
    assert not Backend("file:///elsewhere").shared
    assert [Backend(url).shared for url in ("s3://a", "gs://a", "azblob://a", "https://api.pulumi.com")] == [True] * 4
    assert [Backend(url).is_bucket for url in ("s3://a", "https://api.pulumi.com")] == [True, False]


def test_a_passphrase_of_the_user_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(backend, "HOME", tmp_path)
    for name in backend.PASSPHRASES:
        monkeypatch.delenv(name, raising=False)
    made = Backend("s3://state").variables()
    assert made["PULUMI_CONFIG_PASSPHRASE_FILE"] == str(tmp_path / "passphrase")
    assert (tmp_path / "passphrase").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "own")
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" not in Backend("s3://state").variables()


def test_other_errors_are_no_lock() -> None:
    assert lock_advice("error: could not read the bucket", "mine") == ""
