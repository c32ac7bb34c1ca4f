"""What `up` and `purge` say before they run, from events as Pulumi's engine writes them, and what they refuse."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import pytest

from infra.layout import CHECKOUT
from infra.targets.operations import holdings
from tools.report import ToolError
from tools.stack import review, verbs
from tools.stack.changes import describe, describe_drift, objections, version_skews
from tools.stack.events import UNKNOWN, Events, read_events
from tools.stack.review import Consent, PurgeConsent
from tools.stack.workspace import Workspace

STACK = "urn:pulumi:mine::headrace::"
KUBERNETES = f"{STACK}headrace:kubernetes:Stack::kubernetes"
CHART = f"{STACK}headrace:kubernetes:Stack$kubernetes:helm.sh/v4:Chart::headrace"
CLAIM = f"{CHART.rpartition('::')[0]}$kubernetes:core/v1:PersistentVolumeClaim::headrace:headrace/headrace-data"
ADDON = f"{STACK}headrace:kubernetes:Stack$headrace:kubernetes:Addon::kuberay"

Written = Callable[..., Events]


def step(op: str, type: str, name: str = "", *, parent: str = "", old: Any = None, new: Any = None, **more: Any) -> Any:
    """An event of one step; `old` and `new` are inputs, and flags of the old state are in `more`."""
    urn = type if type.startswith("urn:") else f"{STACK}{type}::{name}"
    flags = {key: more.pop(key) for key in ("protect", "delete", "retainOnDelete") if key in more}
    custom = {"custom": more.pop("custom", True), "parent": parent}
    states = {
        "old": None if op == "create" else {"urn": urn, "inputs": old or {}, **custom, **flags},
        "new": None if op == "delete" or new is False else {"urn": urn, "inputs": new or {}, **custom},
    }
    kind = "resOutputsEvent" if op == "refresh" else "resourcePreEvent"
    return {kind: {"metadata": {"op": op, "urn": urn, "type": type, **states, **more}, "planning": True}}


def replaced(*paths: str) -> dict[str, Any]:
    return {path: {"diffKind": "update-replace", "inputDiff": True} for path in paths}


@pytest.fixture
def events(tmp_path: Path) -> Written:
    def write(*steps: Any, **options: bool) -> Events:
        log = tmp_path / "log"
        log.write_text("".join(f"{json.dumps(s)}\n" for s in steps))
        return read_events(log, **options)

    return write


MOVED = (
    step(
        "replace",
        "kubernetes:core/v1:Namespace",
        "namespace",
        old={"metadata": {"name": "headrace"}},
        new={"metadata": {"name": "other"}},
        detailedDiff=replaced("metadata.name"),
    ),
    step("create-replacement", "kubernetes:core/v1:Namespace", "namespace"),
    step("delete-replaced", "kubernetes:core/v1:Namespace", "namespace"),
    step(
        "replace",
        "kubernetes:postgresql.cnpg.io/v1:Cluster",
        "headrace-db",
        old={"metadata": {"namespace": "headrace"}},
        new={"metadata": {"namespace": "other"}},
        detailedDiff=replaced("metadata.namespace"),
    ),
)


def test_another_namespace_is_not_taken_for_the_database_unasked(events: Written) -> None:
    found = events(*MOVED).changes
    assert objections(found, (), "mine") == [
        "  namespace namespace would be replaced, and with it everything in it, its volumes too:"
        ' metadata.name changes from "headrace" to "other" (headrace:kubernetes.namespace)',
        "  database headrace-db would be replaced, and with it its volumes: users, keys, conversations and all other"
        ' rows: metadata.namespace changes from "headrace" to "other" (headrace:kubernetes.namespace)',
        "undo these settings, or destroy it by name:"
        ' make up STACK=mine ARGS="--destroy namespace --destroy headrace-db"',
    ]
    # Naming one of them is not enough.
    assert any("database headrace-db" in line for line in objections(found, {"namespace"}, "mine"))
    assert objections(found, {"namespace", "headrace-db"}, "mine") == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            step(
                "replace",
                "aws:eks/nodeGroup:NodeGroup",
                "pool-gpu",
                old={"instanceTypes": ["g6.xlarge"]},
                new={"instanceTypes": ["g6.2xlarge"]},
                detailedDiff=replaced("instanceTypes[0]"),
            ),
            'node pool pool-gpu would be replaced, .*: instanceTypes\\[0\\] changes from "g6.xlarge" to "g6.2xlarge"'
            " \\(headrace:node_pools\\[gpu\\].machine_type, accelerator or gpus\\)",
        ),
        (
            step(
                "replace",
                "gcp:container/nodePool:NodePool",
                "pool-gpu",
                detailedDiff=replaced("nodeConfig.diskSizeGb"),
                old={"nodeConfig": {"diskSizeGb": 100}},
                new={"nodeConfig": {"diskSizeGb": 200}},
            ),
            "diskSizeGb changes from 100 to 200 \\(headrace:node_pools\\[gpu\\].disk_gib\\)",
        ),
        (
            step(
                "replace",
                "azure-native:containerservice:AgentPool",
                "pool-gpu",
                keys=["vmSize"],
                old={"vmSize": "Standard_NC24ads_A100_v4"},
                new={"vmSize": UNKNOWN},
            ),
            "vmSize depends on something that is replaced",
        ),
        (
            step("delete", "aws:eks/nodeGroup:NodeGroup", "pool-gpu"),
            "node pool pool-gpu would be deleted, .*: the configuration no longer has it \\(headrace:node_pools\\)",
        ),
        (step("delete", "aws:s3/bucket:Bucket", "bucket"), "bucket bucket would be deleted, and with it the files"),
        (
            step("replace", "aws:eks/cluster:Cluster", "cluster", keys=["name"], old={"name": "a"}, new={"name": "b"}),
            'cluster cluster would be replaced, .*: name changes from "a" to "b" \\(the name of the stack\\)',
        ),
        (
            step("replace", CLAIM, keys=["spec"], old={"spec": {"token": "[secret]"}}, new={"spec": {}}),
            "volume headrace:headrace/headrace-data would be replaced, .*: spec changes$",
        ),
        (step("delete", ADDON, custom=False), "add-on kuberay would be deleted, .* \\(headrace:addons\\)"),
        (step("delete", "headrace:index:KubernetesNode", "node-west"), "host node-west would be deleted"),
    ],
)
def test_resources_with_data_are_destroyed_only_by_name(change: Any, why: str, events: Written) -> None:
    found = events(change).changes
    first, advice = objections(found, (), "mine")
    assert re.search(why, first)
    assert advice.endswith(f'ARGS="--destroy {found[0].name}"')


@pytest.mark.parametrize(
    "change",
    [
        step("update", "aws:eks/nodeGroup:NodeGroup", "pool-gpu"),
        step("create", "aws:s3/bucket:Bucket", "bucket"),
        step("delete", "kubernetes:core/v1:ConfigMap", "settings"),
        # What an earlier update left behind, and what stays in the cloud.
        step("delete", "aws:eks/nodeGroup:NodeGroup", "pool-gpu", delete=True),
        step("delete", "aws:s3/bucket:Bucket", "bucket", retainOnDelete=True),
        # Ray's control state, which a new head does without, and a namespace that goes with its add-on.
        step("delete", CLAIM.replace("headrace-data", "headrace-gcs")),
        step("delete", "kubernetes:core/v1:Namespace", "kuberay-namespace", parent=ADDON),
    ],
)
def test_other_changes_need_no_name(change: Any, events: Written) -> None:
    assert objections(events(change).changes, (), "mine") == []


def test_protected_resources_are_not_destroyed_by_name(events: Written) -> None:
    found = events(step("delete", "aws:s3/bucket:Bucket", "bucket", protect=True)).changes
    assert "set deletion_protection: false in headrace:cluster" in objections(found, {"bucket"}, "mine")[-1]


def upgraded(type: str, name: str, path: str, before: str, after: str) -> Any:
    difference = {path: {"diffKind": "update"}}
    return step("update", type, name, old={path: before}, new={path: after}, detailedDiff=difference)


EKS, EKS_NODES = (
    ("aws:eks/cluster:Cluster", "cluster", "version"),
    ("aws:eks/nodeGroup:NodeGroup", "pool-gpu", "version"),
)
AKS = ("azure-native:containerservice:ManagedCluster", "cluster", "kubernetesVersion")
AKS_NODES = ("azure-native:containerservice:AgentPool", "pool-gpu", "orchestratorVersion")


@pytest.mark.parametrize("cluster", [EKS, AKS], ids=["eks", "aks"])
@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("1.34", "1.35", ""),
        ("1.35", "1.35.4", ""),
        ("1.34", "1.36", "cluster cluster would skip a minor version, from 1.34 to 1.36: go to 1.35 first"),
        ("1.36", "1.35", "cluster cluster has Kubernetes 1.36, which cannot be downgraded to 1.35"),
    ],
)
def test_kubernetes_is_upgraded_by_one_minor_version(
    cluster: Any, before: str, after: str, why: str, events: Written, ask: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    change = upgraded(*cluster, before, after)
    assert version_skews(events(change).changes) == ([f"  {why}"] if why else [])
    assert ask(Consent(yes=True), change)[0] == bool(why)
    assert ("so nothing was changed" in capsys.readouterr().err) == bool(why)


@pytest.mark.parametrize(("cluster", "nodes"), [(EKS, EKS_NODES), (AKS, AKS_NODES)], ids=["eks", "aks"])
@pytest.mark.parametrize(("oldest", "refused"), [("1.33", False), ("1.32", True)])
def test_nodes_are_not_left_too_far_behind(
    cluster: Any, nodes: Any, oldest: str, refused: bool, events: Written
) -> None:
    """Kubelets may be three minor versions older than their control plane, which is upgraded before them."""
    found = events(upgraded(*cluster, "1.35", "1.36"), upgraded(*nodes, oldest, "1.36")).changes
    why = [f"  node pool pool-gpu has Kubernetes {oldest}, too old for a control plane of 1.36: upgrade nodes first"]
    assert version_skews(found) == (why if refused else [])
    # Without an upgrade of the control plane, nodes catch up over any distance.
    assert version_skews(events(upgraded(*nodes, "1.32", "1.36")).changes) == []


def test_an_update_is_told_in_plain_words(events: Written) -> None:
    changed = [
        step("update", "kubernetes:core/v1:ConfigMap", f"map-{i}", detailedDiff={"data.a": {"diffKind": "update"}})
        for i in range(22)
    ]
    found = events(
        *MOVED, *changed, step("create", "aws:ec2/vpc:Vpc", "vpc"), step("same", "aws:ec2/eip:Eip", "nat")
    ).changes
    said = list(describe(found))
    assert said[0] == "Resources that this changes: 1 created, 22 changed, 2 replaced."
    assert said[1:4] == [
        "  replace  namespace namespace: metadata.name",
        "  replace  database headrace-db: metadata.namespace",
        "  change   ConfigMap map-0: data.a",
    ]
    assert said[-1] == "  change   2 more"
    assert list(describe(events(step("same", "aws:ec2/eip:Eip", "nat")).changes)) == ["Nothing changes."]


def test_drift_is_told_and_the_status_of_a_resource_is_none(events: Written) -> None:
    group = "azure-native:containerservice:ManagedCluster"
    steps = [
        step("refresh", "aws:eks/nodeGroup:NodeGroup", "pool-gpu", detailedDiff={"labels.a": {"diffKind": "add"}}),
        step("refresh", "aws:ec2/eip:Eip", "nat", new=False),
        step("refresh", "kubernetes:ray.io/v1:RayService", "headrace", new={"status": "Running"}),
        # AKS lists pools that are resources of their own.
        step("refresh", group, "cluster", detailedDiff={"agentPoolProfiles[1]": {"diffKind": "add"}}),
    ]
    expected = ["  changed  node pool pool-gpu: labels.a", "  gone     Eip nat"]
    assert list(describe_drift(events(*steps).drift)) == expected
    assert events(*steps).changes == ()
    assert list(describe_drift(events(*steps, refresh=True).drift)) == expected


def test_objects_that_a_preview_cannot_see_are_not_taken_for_deleted(events: Written) -> None:
    """Pulumi registers a chart alone if its cluster's credentials are not known yet."""
    chart = step("same", CHART, parent=KUBERNETES, custom=False)
    claim = step("delete", CLAIM, parent=CHART)
    found = events(chart, claim)
    assert (found.changes, found.unseen) == ((), ("headrace",))
    # A chart that goes, and one that has other objects left, are as they seem.
    assert objections(events(step("delete", CHART, custom=False), claim).changes, (), "mine")
    other = step("same", CLAIM.replace("-data", "-gcs"), parent=CHART)
    assert objections(events(chart, claim, other).changes, (), "mine")


def test_errors_are_read_with_their_resource(events: Written) -> None:
    said = {"prefix": "error: ", "message": "<{%reset%}>no quota<{%reset%}>\n", "severity": "error", "urn": CHART}
    [found] = events({"diagnosticEvent": said}, {"diagnosticEvent": {**said, "severity": "warning"}}).failures
    assert (found.text, found.urn) == ("no quota", CHART)


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_every_type_that_holds_something_is_planned(cloud: str) -> None:
    planned = (CHECKOUT / f"tests/unit/plan/snapshots/{cloud}.txt").read_text()
    types = [t for t in holdings() if t.startswith((f"{cloud}:", f"{cloud}-native:"))]
    assert len(types) >= 3
    assert [t for t in types if f"{t}::" not in planned] == []


# The question.


class Pulumi:
    """A workspace whose Pulumi writes events."""

    stack = "mine"

    def __init__(self, target: str, steps: Sequence[Any], status: int = 0) -> None:
        self.target, self.steps, self.status = target, steps, status
        self.asked: list[tuple[str, ...]] = []

    def pulumi(self, *arguments: str, lock: object, events: Path) -> int:
        self.asked.append(arguments)
        events.write_text("".join(f"{json.dumps(s)}\n" for s in self.steps))
        return self.status


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, list[tuple[str, ...]]]]:
    """Reviews an update whose Pulumi reports steps; `typed` is the answer to the question."""
    monkeypatch.setattr(review, "HOME", tmp_path)

    def run(consent: Consent, *steps: Any, target: str = "aws", typed: str = "", status: int = 0) -> Any:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        pulumi: Any = Pulumi(target, steps, status)
        return review.review(pulumi, consent, [], io.StringIO()), pulumi.asked

    return run


CREATED = step("create", "aws:ec2/vpc:Vpc", "vpc")


@pytest.mark.parametrize(("typed", "status"), [("y\n", 0), ("yes\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_an_update_waits_for_an_answer(typed: str, status: int, ask: Any) -> None:
    assert ask(Consent(), CREATED, typed=typed)[0] == status


def test_nothing_is_asked_where_nothing_changes_or_yes_was_said(ask: Any) -> None:
    assert ask(Consent())[0] == 0
    assert ask(Consent(yes=True), CREATED)[0] == 0


def test_yes_destroys_nothing_that_has_a_name(ask: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(Consent(yes=True), *MOVED)[0] == 1
    assert "nothing was changed" in capsys.readouterr().err
    assert ask(Consent(yes=True, destroy=frozenset({"namespace", "headrace-db"})), *MOVED)[0] == 0


def test_a_failed_preview_ends_the_update(ask: Any) -> None:
    assert ask(Consent(yes=True), status=255)[0] == 255


def test_drift_is_looked_for_in_clouds_unless_the_arguments_say_otherwise(ask: Any) -> None:
    assert ask(Consent(yes=True))[1] == [("preview", "--refresh")]
    assert ask(Consent(yes=True), target="kubeconfig")[1] == [("preview",)]
    assert ask(Consent(yes=True, rest=("--refresh=false",)))[1] == [("preview", "--refresh=false")]


def test_arguments_are_those_of_the_review_and_of_pulumi() -> None:
    given = ["--yes", "--destroy", "pool-gpu", "--destroy=bucket", "--parallel", "2"]
    assert Consent.from_arguments(given, "aws") == Consent(
        True, frozenset({"pool-gpu", "bucket"}), False, ("--parallel", "2")
    )
    assert Consent.from_arguments(["-y", "--skip-preview"], "onprem").skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "here is no terminal to answer at: .* `make up` with ARGS=--yes"),
        (("--yes", "--destroy"), "--destroy needs the name of a resource"),
        (("--yes", "--skip-preview"), "would change a cluster in a cloud without showing how"),
    ],
)
def test_arguments_that_cannot_be_followed(arguments: Sequence[str], said: str) -> None:
    with pytest.raises(ToolError, match=said):
        Consent.from_arguments(arguments, "gcp")


ENDED = (
    step("delete", "kubernetes:core/v1:Namespace", "namespace"),
    step("delete", CLAIM),
    step("delete", "gcp:container/nodePool:NodePool", "pool-gpu"),
    step("delete", "gcp:projects/service:Service", "service-iam"),
    step("delete", "aws:s3/bucket:Bucket", "kept", retainOnDelete=True),
)


@pytest.fixture
def purge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, list[tuple[str, ...]]]]:
    """Reviews the end of the stack `mine`; `typed` is the answer to the question."""
    monkeypatch.setattr(review, "HOME", tmp_path)

    def run(consent: PurgeConsent, *steps: Any, typed: str = "", status: int = 0) -> Any:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        pulumi: Any = Pulumi("gcp", steps, status)
        return review.review_purge(pulumi, consent, [], io.StringIO()), pulumi.asked

    return run


@pytest.mark.parametrize(("typed", "status"), [("mine\n", 0), ("y\n", 1), ("other\n", 1), ("", 1)])
def test_a_stack_is_deleted_after_its_name_is_typed(
    typed: str, status: int, purge: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert purge(PurgeConsent(), *ENDED, typed=typed) == (status, [("destroy", "--preview-only")])
    said = capsys.readouterr()
    assert said.out.splitlines()[1:6] == [
        "This deletes the stack 'mine': 5 resources and its state, for good. This is lost with it:",
        "  namespace namespace: everything in it, its volumes too",
        "  volume headrace:headrace/headrace-data: the files and collections on it",
        "  node pool pool-gpu: its nodes, and the GPUs that Google Cloud may not be able to provide again",
        "  not bucket kept, which stays",
    ]
    assert ("Nothing was deleted." in said.err) == bool(status)


def test_a_stack_that_is_named_is_deleted_without_a_question(purge: Any) -> None:
    assert purge(PurgeConsent(named=True), *ENDED)[0] == 0
    assert purge(PurgeConsent())[0] == 0  # there is nothing left to lose
    assert purge(PurgeConsent(named=True), *ENDED, status=255)[0] == 255


@pytest.mark.parametrize(("typed", "ran"), [("mine\n", ["destroy", "destroy", "stack"]), ("no\n", ["destroy"])])
def test_purge_deletes_after_the_review_alone(
    typed: str, ran: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Whole(Pulumi):
        rendered = False
        versions: ClassVar = iter("aaaa")

        def pulumi(self, *arguments: str, lock: object = None, events: Path | None = None) -> int:
            return super().pulumi(*arguments, lock=lock, events=events or tmp_path / "unread")

        def locked(self) -> Any:
            return nullcontext(io.StringIO())

        def version(self) -> str:
            return next(self.versions)

    for module in (review, verbs):
        monkeypatch.setattr(module, "HOME", tmp_path)
        monkeypatch.setattr(module, "interactive", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    whole: Any = Whole("gcp", ENDED)
    assert bool(verbs.purge(whole, ())) == (len(ran) == 1)
    assert [asked[0] for asked in whole.asked] == ran
    assert "--preview-only" in whole.asked[0]


def test_what_is_protected_ends_the_purge(purge: Any, capsys: pytest.CaptureFixture[str]) -> None:
    protected = step("delete", "gcp:container/cluster:Cluster", "cluster", protect=True)
    assert purge(PurgeConsent(named=True), *ENDED, protected, status=255)[0] == 1
    said = capsys.readouterr().err
    assert "so nothing was deleted" in said
    assert "protected from deletion: cluster cluster; set deletion_protection: false" in said


def test_the_arguments_of_purge_name_the_stack() -> None:
    assert PurgeConsent.from_arguments(["--destroy", "mine", "--parallel", "2"], "mine") == PurgeConsent(
        True, ("--parallel", "2")
    )
    assert PurgeConsent.from_arguments(["--yes", "--destroy=mine"], "mine") == PurgeConsent(True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), 'give the name by ARGS="--destroy mine"'),
        (("--yes",), 'give the name by ARGS="--destroy mine"'),
        (("--destroy", "other"), "names 'other', but this would delete the stack 'mine'"),
        (("--destroy",), "names '', but"),
    ],
)
@pytest.mark.parametrize("terminal", [False, True])
def test_no_stack_is_deleted_unnamed(
    arguments: Sequence[str], said: str, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "interactive", lambda: terminal)
    if terminal and not arguments:
        assert PurgeConsent.from_arguments(arguments, "mine") == PurgeConsent()
        return
    with pytest.raises(ToolError, match=re.escape(said)):
        PurgeConsent.from_arguments(arguments, "mine")


def test_the_events_do_not_outlive_the_review(ask: Any, tmp_path: Path) -> None:
    ask(Consent(yes=True), CREATED)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_pulumi_writes_its_events(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "pulumi"
    program.write_text('#!/bin/sh\necho "$PULUMI_DEBUG_COMMANDS $*" > "$3"\n')
    program.chmod(0o755)
    workspace = Workspace("mine", {"PATH": f"{tmp_path}:/bin:/usr/bin"})
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert workspace.pulumi("preview", events=tmp_path / "log") == 0
    assert (tmp_path / "log").read_text().startswith(f"true preview --event-log {tmp_path}/log --stack mine")
