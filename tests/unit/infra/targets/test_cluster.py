import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.cluster_config import Kubernetes
from infra.kubernetes.cluster import ClusterUnusable, read_kubeconfig

AUTHORITY = base64.b64encode(b"authority").decode()


def document(**cluster: str) -> dict[str, Any]:
    return {
        "clusters": [{"name": "c", "cluster": {"server": "https://a:6443", **cluster}}],
        "users": [{"name": "u", "user": {"token": "planted"}}],
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "one",
    }


def mistake_message(settings: Kubernetes, content: str = "") -> str:
    with pytest.raises(ClusterUnusable) as raised:
        read_kubeconfig(settings, content)
    return str(raised.value.mistake)


def test_the_current_context_is_used(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(document()))
    there = read_kubeconfig(Kubernetes(kubeconfig=str(file)))
    assert (there.context, there.server, there.path) == ("one", "https://a:6443", file)
    assert "planted" not in repr(there)


def test_the_first_file_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(document()))
    monkeypatch.setenv("KUBECONFIG", f"{file}:/other")
    assert read_kubeconfig(Kubernetes()).path == file


def test_a_cluster_keeps_its_identity_when_it_moves() -> None:
    one, two = (yaml.safe_dump(document(server=s, **{"certificate-authority-data": AUTHORITY})) for s in ("a", "b"))
    assert read_kubeconfig(Kubernetes(), one).identifier == read_kubeconfig(Kubernetes(), two).identifier
    other = yaml.safe_dump(document(**{"certificate-authority-data": base64.b64encode(b"x").decode()}))
    assert read_kubeconfig(Kubernetes(), one).identifier != read_kubeconfig(Kubernetes(), other).identifier


@pytest.mark.parametrize(
    ("content", "settings", "expected"),
    [
        ("a: [", {}, "headrace:kubernetes.kubeconfig: its content is not a kubeconfig"),
        ("just text", {}, "headrace:kubernetes.kubeconfig: its content is not a kubeconfig"),
        (yaml.safe_dump(document()), {"context": "ones"}, "there is no context 'ones'; did you mean 'one'?"),
        (
            yaml.safe_dump({**document(), "current-context": ""}),
            {},
            "headrace:kubernetes.context: is missing, and the kubeconfig has none; set it to one of one",
        ),
        (yaml.safe_dump(document(server="")), {}, "context 'one' has no server"),
    ],
)
def test_one_that_cannot_be_used(content: str, settings: dict[str, str], expected: str) -> None:
    assert expected in mistake_message(Kubernetes(**settings), content)


def test_a_missing_kubeconfig_is_reported(tmp_path: Path) -> None:
    assert f"there is no file {tmp_path}/none" in mistake_message(Kubernetes(kubeconfig=f"{tmp_path}/none"))
