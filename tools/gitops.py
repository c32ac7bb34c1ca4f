"""`python -m tools.gitops FOLDER`: writes the add-ons of a stack into a folder of a Git repository, as objects of Flux.

`make up` writes the stack's own manifests, into the folder that `headrace:kubernetes.render` names. Add-ons are Helm
releases, which cannot be rendered, and so become HelmReleases. The folder gets `addons/`, `objects/` if an add-on has
objects of its own kinds, and `flux.yaml`, which lets Flux apply them in this order, before the stack.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from infra.addons import ADDONS
from infra.addons.addon import Addon, chart_source, manifest_paths
from infra.cluster_config import MOUNTED_SECRETS
from infra.config import StackConfig
from infra.config_loader import load
from infra.layout import CHECKOUT
from infra.mistakes import report
from infra.targets.addon import TIMEOUT_S, namespace_metadata
from infra.versions import Chart
from tools.plan import settings
from tools.report import ToolError, say

Document = dict[str, Any]

HELM = "helm.toolkit.fluxcd.io/v2"
SOURCE = "source.toolkit.fluxcd.io/v1"
KUSTOMIZE = "kustomize.toolkit.fluxcd.io/v1"
INTERVAL = "1h"
HEADING = "# Written by `python -m tools.gitops`.\n"


def export(config: StackConfig, stack: str, folder: str, source: str) -> dict[str, str]:
    """Returns the texts of the files below `folder`, which is relative to the repository's root, by their paths.

    `source` is the GitRepository of Flux that has the repository.

    Raises:
        ToolError: the stack's manifests are not rendered, or its charts are in a folder, which Flux cannot read.
    """
    if not config.kubernetes.render:
        raise ToolError("headrace:kubernetes.render: is empty; set it to the folder for the stack's own manifests")
    if config.mirror.charts and not config.mirror.charts.startswith("oci://"):
        raise ToolError("headrace:mirror.charts: Flux cannot read charts in a folder; push them to an OCI registry")
    installed = [a for a in ADDONS if a.choice(config) == "install"]
    names = {a.name for a in installed}
    files = {f"addons/{a.name}.yaml": _dump(*_addon(a, config, stack, names)) for a in installed}
    manifests = [path for a in installed for path in _crd_files(a, config)]
    resources = [*manifests, *(f"{a.name}.yaml" for a in installed)]
    files["addons/kustomization.yaml"] = _dump(
        {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources}
    )
    steps = {"headrace-addons": f"{folder}/addons"}
    if objects := [o for a in installed for o in a.objects(config)]:
        files["objects/objects.yaml"] = _dump(*objects)
        steps["headrace-objects"] = f"{folder}/objects"
    steps["headrace"] = config.kubernetes.render
    files["flux.yaml"] = _dump(*_steps(steps, source))
    return files


def _addon(addon: Addon, config: StackConfig, stack: str, names: set[str]) -> Iterator[Document]:
    """Yields an add-on's namespace, its charts' repositories, and its releases, that of its CRDs first."""
    yield {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": namespace_metadata(addon.namespace, stack, addon.pod_security),
    }
    if (quota := addon.quota()) is not None:
        metadata = {"name": "node-pods", "namespace": addon.namespace}
        yield {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": quota}
    after = [_reference(other) for other in ADDONS if other.name in addon.after and other.name in names]
    crds = addon.crds_step(config)
    if isinstance(crds, Chart):
        yield from _release(addon, f"{addon.name}-crds", crds, addon.crd_values, config, after, "CreateReplace")
        after = [*after, {"name": f"{addon.name}-crds"}]
    values = addon.values(config, addon.images(config))
    policy = "Skip" if crds is not None else "CreateReplace"
    yield from _release(addon, addon.name, addon.chart(config), values, config, after, policy)


def _release(
    addon: Addon,
    name: str,
    chart: Chart,
    values: Mapping[str, Any],
    config: StackConfig,
    after: Sequence[Document],
    crds: str,
) -> Iterator[Document]:
    where = chart_source(chart, config.mirror)
    repository, _, in_registry = where.chart.rpartition("/")
    metadata = {"name": name, "namespace": addon.namespace}
    kind = {} if where.repository else {"type": "oci"}
    yield {
        "apiVersion": SOURCE,
        "kind": "HelmRepository",
        "metadata": metadata,
        "spec": {**kind, "url": where.repository or repository, "interval": INTERVAL},
    }
    wanted = {
        "chart": where.chart if where.repository else in_registry,
        "version": where.version,
        "sourceRef": {"kind": "HelmRepository", "name": name},
    }
    step = {"crds": crds, "remediation": {"retries": 3}}
    yield {
        "apiVersion": HELM,
        "kind": "HelmRelease",
        "metadata": metadata,
        "spec": {
            "interval": INTERVAL,
            "timeout": f"{TIMEOUT_S}s",
            "releaseName": name,
            "chart": {"spec": wanted},
            **({"dependsOn": list(after)} if after else {}),
            "install": step,
            "upgrade": step,
            "values": dict(values),
        },
    }


def _reference(addon: Addon) -> Document:
    return {"name": addon.name, "namespace": addon.namespace}


def _crd_files(addon: Addon, config: StackConfig) -> list[str]:
    """Returns the URLs of CRDs that are not in a chart."""
    crds = addon.crds_step(config)
    return [] if crds is None or isinstance(crds, Chart) else manifest_paths(crds, config.mirror)


def _steps(paths: Mapping[str, str], source: str) -> Iterator[Document]:
    """Yields what lets Flux apply folders in their order, each when the one before is ready.

    Flux deletes nothing: what is no longer in the repository may hold data.
    """
    before: list[Document] = []
    for name, path in paths.items():
        yield {
            "apiVersion": KUSTOMIZE,
            "kind": "Kustomization",
            "metadata": {"name": name, "namespace": "flux-system"},
            "spec": {
                "interval": INTERVAL,
                "path": f"./{path}",
                "prune": False,
                "wait": True,
                "timeout": "30m",
                "sourceRef": {"kind": "GitRepository", "name": source},
                **({"dependsOn": before} if before else {}),
            },
        }
        before = [{"name": name}]


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _dump(*documents: Mapping[str, Any]) -> str:
    return HEADING + yaml.dump_all([dict(d) for d in documents], Dumper=_Dumper, sort_keys=False, width=120)


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the files and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.gitops", description=__doc__)
    parser.add_argument("--stack", default=os.environ.get("STACK", "local"))
    parser.add_argument("--source", default="flux-system", help="the GitRepository that has this folder")
    parser.add_argument("folder", help="relative to the root of the repository")
    options = parser.parse_args(argv)
    try:
        loaded = load(raw := settings(options.stack), frozenset(raw), MOUNTED_SECRETS)
        if loaded.mistakes:
            raise ToolError(report(loaded.mistakes))
        files = export(loaded.config, options.stack, options.folder.strip("/"), options.source)
    except ToolError as e:
        say(f"error: {e}")
        return 1
    if loaded.config.kubernetes.external_secret is None or loaded.config.database.kind == "cloudnativepg":
        say(
            "warning: the stack's manifests contain passwords and keys; before you commit them, set"
            " headrace:kubernetes.external_secret and headrace:database.kind url, or encrypt them (SOPS)"
        )
    folder = CHECKOUT / options.folder
    for old in ("addons", "objects"):
        shutil.rmtree(folder / old, ignore_errors=True)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    print(f"{folder}: {len(files)} files; `make up STACK={options.stack}` writes {loaded.config.kubernetes.render}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
