"""A stack's add-ons as objects of Flux, as the example in examples/gitops shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.cluster_config import MOUNTED_SECRETS
from infra.config import StackConfig
from infra.config_loader import load
from infra.layout import CHECKOUT
from tests.rendering.examples import EXAMPLES, stack_settings
from tools import gitops, plan
from tools.report import ToolError

EXAMPLE = CHECKOUT / "examples/gitops"


def config(**changes: Any) -> StackConfig:
    settings = {**stack_settings(EXAMPLE / "Pulumi.gitops.yaml"), **changes}
    loaded = load(settings, frozenset(settings), MOUNTED_SECRETS)
    assert loaded.mistakes == []
    return loaded.config


def test_the_example_is_what_the_program_writes() -> None:
    """If it fails, copy the stack to the checkout's root and run `python -m tools.gitops --stack gitops gitops`."""
    written = {str(p.relative_to(EXAMPLE)): p.read_text() for p in EXAMPLE.rglob("*.yaml") if "Pulumi" not in p.name}
    assert gitops.export(config(), "gitops", "gitops", "flux-system") == written


def test_add_ons_wait_for_those_that_they_need() -> None:
    [gateway] = [e for e in EXAMPLES if "gateway" in e.stem]
    own = {name: value for name, value in stack_settings(gateway).items() if name in ("ingress", "database")}
    every = dict.fromkeys(("certificates", "gateway", "gpu", "kserve", "kuberay", "monitoring"), "install")
    files = gitops.export(config(**own, addons=every), "mine", "deploy", "platform")
    released = {
        o["metadata"]["name"]: o["spec"]
        for text in files.values()
        for o in yaml.safe_load_all(text)
        if o["kind"] == "HelmRelease"
    }
    needs = {name: [other["name"] for other in spec.get("dependsOn", ())] for name, spec in released.items()}
    assert needs["kserve"] == ["certificates", "kserve-crds"]
    assert needs["certificates"] == ["gateway"]
    assert needs["gpu"] == ["monitoring"]
    assert released["kserve"]["install"]["crds"] == "Skip"
    assert released["kserve-crds"]["upgrade"]["crds"] == "CreateReplace"
    # Objects of kinds that an add-on defines come after it, and the stack after these.
    steps = {o["metadata"]["name"]: o["spec"] for o in yaml.safe_load_all(files["flux.yaml"])}
    assert [(n, s["path"], s.get("dependsOn")) for n, s in steps.items()] == [
        ("headrace-addons", "./deploy/addons", None),
        ("headrace-objects", "./deploy/objects", [{"name": "headrace-addons"}]),
        ("headrace", "./gitops/stack", [{"name": "headrace-objects"}]),
    ]
    assert {s["sourceRef"]["name"] for s in steps.values()} == {"platform"}
    assert not any(s["prune"] for s in steps.values()), "what leaves the repository may hold data"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kubernetes": {}}, r"headrace:kubernetes\.render: is empty"),
        ({"mirror": {"charts": "charts-mirror"}}, r"headrace:mirror\.charts: Flux cannot read charts in a folder"),
    ],
)
def test_settings_that_flux_cannot_apply_are_rejected(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ToolError, match=said):
        gitops.export(config(**changes), "mine", "deploy", "flux-system")


def test_the_program_replaces_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (gitops, plan):
        monkeypatch.setattr(module, "CHECKOUT", tmp_path)
    example = (EXAMPLE / "Pulumi.gitops.yaml").read_text().replace("0" * 64, "0123456789abcdef" * 4)
    (tmp_path / "Pulumi.mine.yaml").write_text(example)
    old = tmp_path / "deploy/addons/gone.yaml"
    old.parent.mkdir(parents=True)
    old.write_text("")
    assert gitops.main(["--stack", "mine", "deploy"]) == 0
    assert not old.exists()
    assert (tmp_path / "deploy/flux.yaml").exists()
    assert "warning" not in capsys.readouterr().err
    # With secrets in the manifests, the program says so.
    (tmp_path / "Pulumi.mine.yaml").write_text(example.replace("{store: vault, key: apps/headrace}", "null"))
    assert gitops.main(["--stack", "mine", "deploy"]) == 0
    assert "contain passwords and keys" in capsys.readouterr().err
    assert gitops.main(["--stack", "other", "deploy"]) == 1


def test_pods_of_the_priority_of_nodes_are_admitted() -> None:
    pools = [{"name": "serving", "gpus": 1}]
    given = {"target": "kubeconfig", "image": {"tag": "1"}, "pools": pools, "kubernetes": {"render": "deploy/stack"}}
    files = gitops.export(StackConfig.model_validate(given), "example", "deploy", "headrace")
    namespace, quota, *_ = yaml.safe_load_all(files["addons/dcgm.yaml"])
    assert (namespace["kind"], quota["kind"]) == ("Namespace", "ResourceQuota")
    assert quota["metadata"]["namespace"] == namespace["metadata"]["name"]
