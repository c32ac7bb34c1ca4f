"""The verbs of a stack: each takes the stack's workspace and the remaining arguments, and returns an exit status."""

from __future__ import annotations

import os
import shlex
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

from infra.config_loader import load
from infra.providers.session import Session
from infra.targets.layout import CHECKOUT, Layout
from tools.report import ToolError
from tools.stack.knowledge_checks import record_checks
from tools.stack.question import QUESTION, ask
from tools.stack.workspace import HOME, Workspace, interactive


def up(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Brings the stack up and prints its addresses; a stack that was not running is asked a first question.

    The variable HEADRACE_QUESTION replaces that question, and has it asked of a running stack too.
    """
    if workspace.target != "local":
        return _up_on_cluster(workspace, arguments)
    was_running = Session(_layout(workspace).record("ray")).alive
    with workspace.locked() as lock:
        # A refresh costs a moment and finds processes that died, for example at a reboot.
        status = workspace.pulumi("up", "--yes", "--skip-preview", "--refresh", *_quiet(), *arguments, lock=lock)
    if status:
        return status
    outputs = workspace.outputs()
    url, key = str(outputs["url"]), str(outputs["api_key"])
    knowledge = load(workspace.settings(), frozenset(), str(_layout(workspace).secrets)).config.knowledge
    record_checks(knowledge, CHECKOUT, url, key)
    if not was_running or "HEADRACE_QUESTION" in os.environ:
        _ask_first_question(url, key)
    _print_outputs(workspace, outputs)
    return 0


def _up_on_cluster(workspace: Workspace, arguments: Sequence[str]) -> int:
    from tools.stack.cluster_stack import ClusterStack, StuckPodWatch

    stack = ClusterStack.from_workspace(workspace)
    rendered = stack is not None and bool(stack.config.kubernetes.render)
    was_running = "url" in workspace.outputs()
    with workspace.locked() as lock, StuckPodWatch(stack) if stack and not rendered else nullcontext():
        # No refresh: it would request every object's status, and the cluster itself restarts pods that die.
        status = workspace.pulumi("up", "--yes", "--skip-preview", *_quiet(), *arguments, lock=lock)
    if status or (stack := stack or ClusterStack.from_workspace(workspace)) is None:
        return status
    outputs = workspace.outputs()
    if rendered:
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
        layout = _layout(workspace)
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
    layout = _layout(workspace)
    shutil.rmtree(layout.state, ignore_errors=True)
    status = workspace.pulumi("stack", "rm", "--yes", "--preserve-config", *_quiet())
    shutil.rmtree(HOME / workspace.stack, ignore_errors=True)
    print(f"Deleted: {layout.state}")
    return status


def _purge_on_cluster(workspace: Workspace, arguments: Sequence[str]) -> int:
    with workspace.locked() as lock:
        status = workspace.pulumi("destroy", "--yes", "--skip-preview", *_quiet(), *arguments, lock=lock)
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
    """Shows what `up` would change."""
    with workspace.locked() as lock:
        return workspace.pulumi("preview", *_quiet(), *arguments, lock=lock)


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


def pulumi(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Runs Pulumi itself, with this checkout's backend and passphrase."""
    if not arguments:
        raise ToolError("`pulumi` needs a command, for example `python -m tools.stack pulumi config`")
    return workspace.pulumi(*arguments)


VERBS: Mapping[str, Callable[[Workspace, Sequence[str]], int]] = {
    verb.__name__: verb for verb in (up, down, purge, preview, env, outputs, forward, pulumi)
}


def _quiet() -> list[str]:
    return [] if interactive() else ["--non-interactive"]


def _running_outputs(workspace: Workspace) -> dict[str, object]:
    outputs = workspace.outputs()
    if "url" not in outputs:
        raise ToolError(f"stack '{workspace.stack}' is not up; run `make up`")
    return outputs


def _layout(workspace: Workspace) -> Layout:
    """Returns the stack's folders, which the setting `state` may have moved."""
    return Layout.for_stack(workspace.stack, workspace.setting("state"))


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


def _print_outputs(workspace: Workspace, outputs: dict[str, object]) -> None:
    verb = "python -m tools.stack" if workspace.stack == "local" else f"python -m tools.stack --stack {workspace.stack}"
    dashboards = outputs["dashboards"]
    print(f"\n  API          {outputs['url']}/v1")
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
