"""Packs KubeRay's chart as an archive into a folder, as `mirror.charts` expects it for a cluster without internet.

The chart is made from the manifests in the Go module of KubeRay's operator, from which KubeRay makes its own chart. It
accepts the values that the add-on sets on KubeRay's chart.
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
"""As in KubeRay's chart: the manifests of `config/` lack what the pod security level `restricted` requires."""

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
"""The labels by which the Deployment and the Service select the operator's pods."""


@cache
def go_module_folder(name: str) -> Path:
    """Returns the folder of a Go module (`path@version`), downloading the module if it is missing.

    Raises:
        ToolError: Go is not installed, or the module cannot be downloaded.
    """
    go = shutil.which("go")
    if go is None:
        raise ToolError("Go is not installed")
    # Run outside of the checkout, whose own Go modules would influence the result.
    done = subprocess.run([go, "mod", "download", "-json", name], capture_output=True, text=True, cwd="/")
    found: dict[str, str] = json.loads(done.stdout or "{}")
    if "Dir" not in found:
        raise ToolError(f"{name} cannot be downloaded: {found.get('Error') or done.stderr.strip()}")
    return Path(found["Dir"])


def pack_kuberay(folder: Path) -> Path:
    """Writes KubeRay's chart and, beside it, its CRDs into a folder; returns the chart's archive.

    Raises:
        ToolError: Go is not installed, or the operator's module cannot be downloaded.
    """
    config = go_module_folder(KUBERAY_MODULE) / "config"
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
    """Yields names and templates: the manifests of `config/` in the release's namespace, with the chart's labels."""
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
        _templatize_deployment(document["spec"])
    return _insert_values(_yaml(document))


def _templatize_deployment(spec: Document) -> None:
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


def _insert_values(text: str) -> str:
    """Replaces placeholders by values, as JSON, which is valid YAML at any indentation."""
    for name in VALUES:
        text = text.replace(f"'@{name}@'", f"{{{{ toJson .Values.{name} }}}}")
    return text


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.dump(document, Dumper=_DumperWithoutAnchors, sort_keys=False, width=1000)


class _DumperWithoutAnchors(yaml.SafeDumper):
    """Writes no anchors, which would make rendered manifests hard to read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _archive(chart: str, files: Mapping[str, str]) -> bytes:
    """Returns a chart's archive; the same files give the same bytes."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, text in sorted(files.items()):
            data = text.encode()
            info = tarfile.TarInfo(f"{chart}/{name}")
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(raw.getvalue(), mtime=0)
