"""The verbs of a stack: each takes the stack's workspace and the remaining arguments, and returns an exit status."""

from __future__ import annotations

import os
import shlex
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

from infra.config_loader import load
from infra.layout import CHECKOUT, Layout
from infra.programs import PROMETHEUS
from infra.providers.session import Session
from infra.targets import later
from tools.binaries import find
from tools.report import ToolError, say
from tools.stack import choose_model, migration, review
from tools.stack.backend import HOME
from tools.stack.changes import describe_drift, objections, version_skews
from tools.stack.events import read_events
from tools.stack.knowledge_checks import record_checks
from tools.stack.question import QUESTION, ask
from tools.stack.sign_in_link import sign_in_link
from tools.stack.workspace import Workspace, interactive


def up(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Brings the stack up and prints its addresses; a stack that was not running is asked a first question.

    A new stack is asked as soon as it can answer from the first documents; Prometheus and the others follow.
    The variable HEADRACE_QUESTION replaces that question, and has it asked of a running stack too.
    """
    choose_model.choose(workspace)
    if workspace.target != "local":
        return _up_on_cluster(workspace, arguments)
    was_running, new = Session(workspace.layout.record("ray")).alive, workspace.is_new
    if status := _update(workspace, arguments, later.variables(later.DOCUMENTS, later.PROMETHEUS) if new else {}):
        return status
    outputs = workspace.outputs()
    url, key = str(outputs["url"]), str(outputs["api_key"])
    if not new:
        _record_checks(workspace, url, key)
    if not was_running or "HEADRACE_QUESTION" in os.environ:
        _ask_first_question(url, key)
    try:
        link = sign_in_link(url, key)
    except ToolError as e:  # the stack is up all the same
        say(f"warning: {e}")
        link = None
    _print_outputs(workspace, outputs, link)
    return _complete(workspace, arguments, url, key) if new else 0


def _update(workspace: Workspace, arguments: Sequence[str], variables: Mapping[str, str]) -> int:
    with workspace.locked() as lock:
        # A refresh costs a moment and finds processes that died, for example at a reboot.
        options = ("--yes", "--skip-preview", "--refresh", *_quiet(), *arguments)
        return workspace.pulumi("up", *options, lock=lock, variables=variables)


def _complete(workspace: Workspace, arguments: Sequence[str], url: str, key: str) -> int:
    """Adds to a new stack what its first answer did not need. What is interrupted here, the next `up` continues."""
    print(
        "\nThe stack answers. Its other documents follow now, and then Prometheus: until they are there, answers know"
        "\nonly the first documents, and dashboards are empty.\n",
        flush=True,
    )
    quiet, status = ("--suppress-outputs", *arguments), 0
    if find.find(PROMETHEUS) is None:  # obtaining it can take minutes, for which documents do not wait
        status = _update(workspace, quiet, later.variables(later.PROMETHEUS))
        if not status:
            print("\nAll documents are read. Prometheus follows, for dashboards and alerts.\n", flush=True)
    status = status or _update(Workspace.prepare(workspace.stack), quiet, {})
    if status:
        say(f"the stack answers at {url}, but it is not complete; `make up` continues from here")
        return status
    _record_checks(workspace, url, key)
    print("\nThe stack is complete: all documents are read, and Prometheus runs.")
    return 0


def _record_checks(workspace: Workspace, url: str, key: str) -> None:
    knowledge = load(workspace.settings(), frozenset(), str(workspace.layout.secrets)).config.knowledge
    record_checks(knowledge, CHECKOUT, url, key)


def _up_on_cluster(workspace: Workspace, arguments: Sequence[str]) -> int:
    from tools.stack.cluster_stack import ClusterStack, StuckPodWatch

    stack = ClusterStack.from_workspace(workspace)
    consent = (
        review.Consent(skip=True, rest=tuple(arguments))
        if workspace.rendered
        else review.Consent.from_arguments(arguments, workspace.target)
    )
    was_running = "url" in workspace.outputs()
    with workspace.locked() as lock:
        if not consent.skip:
            version = workspace.version()
            if status := review.review(workspace, consent, _quiet(), lock):
                return status
            if workspace.version() != version:
                raise ToolError("somebody else has changed the stack since the preview; run the same command again")
        refresh = [] if workspace.rendered else review.refresh_arguments(workspace.target, consent.rest)
        with StuckPodWatch(stack) if stack and not workspace.rendered else nullcontext():
            status = review.update(workspace, [*refresh, *_quiet(), *consent.rest], lock)
    if status or (stack := stack or ClusterStack.from_workspace(workspace)) is None:
        return status
    outputs = workspace.outputs()
    if workspace.rendered:
        print(f"\nManifests are in {stack.config.kubernetes.render}.")
        return 0
    if not was_running or "HEADRACE_QUESTION" in os.environ:
        with StuckPodWatch(stack):
            stack.wait_until_ready()
    if outputs["api_key"] and (not was_running or "HEADRACE_QUESTION" in os.environ):
        with stack.api_url() as url:
            _ask_first_question(url, str(outputs["api_key"]))
    _print_outputs(workspace, outputs)
    return 0


def down(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Stops all processes of the stack; its data is kept."""
    if workspace.target != "local":
        raise ToolError(
            "a stack on a cluster keeps its data in its namespace, which is deleted with it; "
            "to delete both, run `make purge`"
        )
    with workspace.locked() as lock:
        status = workspace.pulumi("destroy", "--yes", "--skip-preview", *_quiet(), *arguments, lock=lock)
        if status:
            return status
        layout = workspace.layout
        _remove_runtime_files(layout)
    print("\nThe stack is stopped.")
    if layout.data.exists():
        print(f"Kept: {layout.data} (documents, answers, metrics). `make purge` deletes it.")
    return 0


def purge(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Stops the stack and deletes its data and its Pulumi state."""
    if workspace.target != "local":
        return _purge_on_cluster(workspace, arguments)
    status = down(workspace, arguments)
    if status:
        return status
    layout = workspace.layout
    shutil.rmtree(layout.state, ignore_errors=True)
    status = workspace.pulumi("stack", "rm", "--yes", "--preserve-config", *_quiet())
    shutil.rmtree(HOME / workspace.stack, ignore_errors=True)
    print(f"Deleted: {layout.state}")
    return status


def _purge_on_cluster(workspace: Workspace, arguments: Sequence[str]) -> int:
    consent = (
        review.PurgeConsent(named=True, rest=tuple(arguments))
        if workspace.rendered
        else review.PurgeConsent.from_arguments(arguments, workspace.stack)
    )
    with workspace.locked() as lock:
        if not workspace.rendered:
            version = workspace.version()
            if status := review.review_purge(workspace, consent, _quiet(), lock):
                return status
            if workspace.version() != version:
                raise ToolError("somebody else has changed the stack since the preview; run the same command again")
        status = workspace.pulumi("destroy", "--yes", "--skip-preview", *_quiet(), *consent.rest, lock=lock)
    if status:
        return status
    status = workspace.pulumi("stack", "rm", "--yes", "--preserve-config", *_quiet())
    shutil.rmtree(HOME / workspace.stack, ignore_errors=True)
    print("\nThe stack is deleted from the cluster.")
    return status


def forward(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Forwards a port of this host to the API of a stack on a cluster, until Ctrl-C; the argument is the port."""
    from tools.stack.cluster_stack import ClusterStack

    if workspace.target == "local" or (stack := ClusterStack.from_workspace(workspace)) is None:
        raise ToolError("`forward` needs a stack on a cluster")
    with stack.port_forward(int(arguments[0]) if arguments else 0) as port:
        print(f"export URL=http://127.0.0.1:{port}", flush=True)
        threading.Event().wait()
    return 0


def preview(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Shows what `up` would change, and what it would refuse to."""
    with workspace.locked() as lock:
        if workspace.target == "local" or workspace.rendered:
            return workspace.pulumi("preview", *_quiet(), *arguments, lock=lock)
        status, events = review.preview(workspace, [*_quiet(), *arguments], lock)
    if status:
        review.explain(events)
    else:
        review.show(events)
    if refused := version_skews(events.changes):
        print("\n`up` would refuse this, because Kubernetes supports no such upgrade:")
        print("\n".join(refused))
    if refused := objections(events.changes, (), workspace.stack):
        print("\n`up` would refuse this, because it would destroy resources that hold data or machines:")
        print("\n".join(refused))
    return status


def drift(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Shows what somebody else has changed since the last `up`; the status is 1 if there is something."""
    with workspace.locked() as lock, review.event_log(workspace.stack) as log:
        status = workspace.pulumi("refresh", "--preview-only", *_quiet(), *arguments, lock=lock, events=log)
        lines = list(describe_drift(read_events(log, refresh=True).drift))
    if status:
        return status
    print("\nChanged by somebody else since the last `up`:" if lines else "\nNobody has changed anything.")
    print("\n".join(lines))
    return 1 if lines else 0


def env(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Prints shell commands that export `URL` and `KEY`."""
    del arguments
    outputs = _running_outputs(workspace)
    print(f"export URL={shlex.quote(str(outputs['url']))}")
    print(f"export KEY={shlex.quote(str(outputs['api_key']))}")
    return 0


def outputs(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Prints the stack's addresses."""
    del arguments
    _print_outputs(workspace, _running_outputs(workspace))
    return 0


def page(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Prints the page's address, with a code that signs one browser in within 15 minutes."""
    del arguments
    if workspace.target != "local":
        raise ToolError("sign-in links are for stacks on this host; sign in at the page with a key")
    outputs = _running_outputs(workspace)
    link = sign_in_link(str(outputs["url"]), str(outputs["api_key"]))
    if link is None:
        raise ToolError("the setting `sign_in_links` allows no link from this address: sign in at the page with a key")
    print(link)
    return 0


def migrate(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Moves the stack's state from this checkout to the bucket of its configuration."""
    del arguments
    migration.migrate(workspace)
    print(f"The state is in {workspace.backend.url}. Commit {workspace.own_settings.name}, which names its key.")
    return 0


def pulumi(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Runs Pulumi itself, with this checkout's backend and passphrase."""
    if not arguments:
        raise ToolError("`pulumi` needs a command, for example `.venv/bin/python -m tools.stack pulumi config`")
    return workspace.pulumi(*arguments)


VERBS: Mapping[str, Callable[[Workspace, Sequence[str]], int]] = {
    verb.__name__: verb for verb in (up, down, purge, preview, drift, env, outputs, page, forward, migrate, pulumi)
}


def _quiet() -> list[str]:
    return [] if interactive() else ["--non-interactive"]


def _running_outputs(workspace: Workspace) -> dict[str, object]:
    outputs = workspace.outputs()
    if "url" not in outputs:
        raise ToolError(f"stack '{workspace.stack}' is not up; run `make up`")
    return outputs


def _remove_runtime_files(layout: Layout) -> None:
    """Ends processes of an interrupted `up`, which no state records, and deletes what only a running stack needs."""
    for record in sorted((layout.state / "run").glob("*")):
        Session(record).end()
    for folder in (layout.state / "run", layout.state / "logs", layout.metrics, layout.secrets, layout.temp):
        shutil.rmtree(folder, ignore_errors=True)
    (layout.state / "prometheus.yml").unlink(missing_ok=True)


def _ask_first_question(url: str, key: str) -> None:
    question = os.environ.get("HEADRACE_QUESTION", QUESTION)
    print(f"\n> {question}\n")
    answer = ask(url, key, question, lambda text: print(text, end="", flush=True))
    if answer is None:
        print("(This stack has no assistant called docs.)")
        return
    print("\n")
    for number, citation in enumerate(answer.citations, 1):
        quote = " ".join(str(citation.get("quote", "")).split())
        print(f"  [{number}] {citation.get('file_name')}: {quote[:100]}")


def _print_outputs(workspace: Workspace, outputs: dict[str, object], link: str | None = None) -> None:
    verb = ".venv/bin/python -m tools.stack"  # works outside of the environment
    if workspace.stack != "local":
        verb += f" --stack {workspace.stack}"
    dashboards = outputs["dashboards"]
    address = link or f"{outputs['url']}/"
    print(f"\n  Page         {address}")
    if link:
        print("               (signs one browser in within 15 minutes; `make page` prints a new one)")
    print(f"  API          {outputs['url']}/v1")
    if outputs["api_key"]:
        print(f"  API key      {verb} pulumi stack output api_key --show-secrets")
    else:
        print("  API key      in the secret store named by kubernetes.external_secret")
    if outputs["prometheus_url"]:
        print(f"  Prometheus   {outputs['prometheus_url']}")
    if isinstance(dashboards, dict):
        for name, url in sorted(dashboards.items()):
            if url != outputs["prometheus_url"]:
                print(f"  {name:<12} {url}")
    if ".svc:" in str(outputs["url"]):
        print(f"  From here    {verb} forward 8080")
    print('  For scripts  eval "$(make -s env)"')
