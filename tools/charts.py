"""Charts as archives in a folder, the form in which a cluster without internet gets them: `mirror.charts`.

KubeRay's chart is packed from the Go module of its operator, whose `config/` is what its vendor makes the chart of.
It takes the values that the add-on gives to the vendor's.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from infra.versions import KUBERAY, KUBERAY_CRDS
from tools.report import ToolError

Document = dict[str, Any]

KUBERAY_MODULE = f"github.com/ray-project/kuberay/ray-operator@v{KUBERAY.version}"

SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""The vendor's chart has the same; the manifests of `config/` lack what a restricted namespace asks for."""

VALUES: Document = {
    "image": {"repository": "quay.io/kuberay/operator", "tag": f"v{KUBERAY.version}", "pullPolicy": "IfNotPresent"},
    "imagePullSecrets": [],
    "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"cpu": "100m", "memory": "512Mi"}},
    "podSecurityContext": {},
    "securityContext": SECURITY,
    "nodeSelector": {},
    "tolerations": [],
    "affinity": {},
}

LABELS = {
    "app.kubernetes.io/name": "kuberay-operator",
    "app.kubernetes.io/instance": "{{ .Release.Name }}",
}
"""What tells the operator's pods from others."""


@cache
def module(name: str) -> Path:
    """The folder of a Go module (`path@version`), downloaded if it is not there.

    Raises:
        ToolError: there is no Go, or the module cannot be had.
    """
    go = shutil.which("go")
    if go is None:
        raise ToolError("Go is not installed")
    # Outside of any module of ours: what those require must not matter here.
    done = subprocess.run([go, "mod", "download", "-json", name], capture_output=True, text=True, cwd="/")
    found: dict[str, str] = json.loads(done.stdout or "{}")
    if "Dir" not in found:
        raise ToolError(f"{name} cannot be had: {found.get('Error') or done.stderr.strip()}")
    return Path(found["Dir"])


def pack_kuberay(folder: Path) -> Path:
    """Writes KubeRay's chart and, beside it, its CRDs into a folder; returns the chart's archive.

    Raises:
        ToolError: the module cannot be had.
    """
    config = module(KUBERAY_MODULE) / "config"
    folder.mkdir(parents=True, exist_ok=True)
    for name in KUBERAY_CRDS.files:
        (folder / name).write_bytes((config / "crd" / "bases" / name).read_bytes())
    files = {
        "Chart.yaml": _yaml(
            {
                "apiVersion": "v2",
                "name": KUBERAY.name,
                "version": KUBERAY.version,
                "appVersion": f"v{KUBERAY.version}",
                "description": "KubeRay's operator",
                "type": "application",
            }
        ),
        "values.yaml": _yaml(VALUES),
        **{f"crds/{name}": (config / "crd" / "bases" / name).read_text() for name in KUBERAY_CRDS.files},
        **{f"templates/{name}.yaml": text for name, text in _templates(config)},
    }
    archive = folder / f"{KUBERAY.name}-{KUBERAY.version}.tgz"
    archive.write_bytes(_archive(KUBERAY.name, files))
    return archive


def _templates(config: Path) -> Iterator[tuple[str, str]]:
    """Templates by name: the manifests of `config/`, in the release's namespace and with the chart's labels."""
    for part, files in {
        "rbac": (
            "service_account",
            "role",
            "role_binding",
            "leader_election_role",
            "leader_election_role_binding",
        ),
        "manager": ("manager", "service"),
    }.items():
        for file in files:
            documents = yaml.safe_load_all((config / part / f"{file}.yaml").read_text())
            yield file.replace("_", "-"), "---\n".join(_template(d) for d in documents if d)


def _template(document: Document) -> str:
    metadata = document["metadata"]
    metadata["labels"] = {**LABELS, "app.kubernetes.io/managed-by": "{{ .Release.Service }}"}
    if not document["kind"].startswith("Cluster"):
        metadata["namespace"] = "{{ .Release.Namespace }}"
    for subject in document.get("subjects", ()):
        subject["namespace"] = "{{ .Release.Namespace }}"
    if document["kind"] == "Service":
        document["spec"]["selector"] = LABELS
    if document["kind"] == "Deployment":
        _deployment(document["spec"])
    return _with_values(_yaml(document))


def _deployment(spec: Document) -> None:
    spec["selector"]["matchLabels"] = LABELS
    spec["template"]["metadata"]["labels"] = LABELS
    pod = spec["template"]["spec"]
    pod["imagePullSecrets"] = "@imagePullSecrets@"
    pod["securityContext"] = "@podSecurityContext@"
    for name in ("nodeSelector", "tolerations", "affinity"):
        pod[name] = f"@{name}@"
    [container] = pod["containers"]
    container["image"] = "{{ .Values.image.repository }}:{{ .Values.image.tag }}"
    container["imagePullPolicy"] = "{{ .Values.image.pullPolicy }}"
    container["securityContext"] = "@securityContext@"
    container["resources"] = "@resources@"


def _with_values(text: str) -> str:
    """Puts values in: JSON is YAML too, whatever the indentation."""
    for name in VALUES:
        text = text.replace(f"'@{name}@'", f"{{{{ toJson .Values.{name} }}}}")
    return text


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Plain, sort_keys=False, width=1000)


class _Plain(yaml.SafeDumper):
    """Without anchors, which make what Helm renders hard to read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _archive(chart: str, files: Mapping[str, str]) -> bytes:
    """A chart's archive; the same files make the same bytes."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, text in sorted(files.items()):
            data = text.encode()
            info = tarfile.TarInfo(f"{chart}/{name}")
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(raw.getvalue(), mtime=0)
