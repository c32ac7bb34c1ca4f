"""How kubeadm is run on a host, over SSH."""

from __future__ import annotations

from typing import Any

import pytest

from infra.onprem import kubeadm
from infra.onprem.ssh import CommandFailed


@pytest.fixture
def host(server: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A host whose kubeadm is a script, and whose folders are the test's."""
    for place in ("/run/headrace", "/var/log/headrace", "/var/lib/headrace", "/etc/kubernetes/pki"):
        (tmp_path / place.strip("/")).mkdir(parents=True)
        monkeypatch.setattr(kubeadm, "_RUN", kubeadm._RUN.replace(place, str(tmp_path / place.strip("/"))))
    (tmp_path / "etc/kubernetes/pki/ca.crt").write_text("ca")
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "kubeadm").write_text('#!/bin/sh\necho "$@"; cat "${3#--config=}"; [ "$1" != fail ]\n')
    (bin / "kubeadm").chmod(0o755)
    monkeypatch.setattr(kubeadm, "_RUN", f"PATH={bin}:$PATH\n{kubeadm._RUN}")
    with server.remote() as remote:
        yield remote


def test_a_run_reads_its_configuration_from_a_temporary_file(host: Any, server: Any, tmp_path: Any) -> None:
    kubeadm.run(host, "join", "--x", configuration="token: hunter2\n", member=True)
    log = (tmp_path / "var/log/headrace/kubeadm.log").read_text()
    assert log == f"join --x --config={tmp_path}/run/headrace/kubeadm.yaml\ntoken: hunter2\n"
    assert not (tmp_path / "run/headrace/kubeadm.yaml").exists()
    assert len((tmp_path / "var/lib/headrace/member").read_text().strip()) == 64
    assert "hunter2" not in "".join(server.commands)


def test_a_failed_run_reports_its_log_and_creates_no_node(host: Any, tmp_path: Any) -> None:
    with pytest.raises(CommandFailed, match=r"kubeadm fail failed with status 1\n\s+fail --x"):
        kubeadm.run(host, "fail", "--x", configuration="a: 1\n", member=True)
    assert not (tmp_path / "run/headrace/kubeadm.yaml").exists()
    assert not (tmp_path / "var/lib/headrace/member").exists()
