"""`python -m tools.stack VERB`: what the Makefile calls to run Pulumi on one stack of this checkout."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext

from infra.config_loader import load
from infra.providers.session import Session
from infra.targets.layout import CHECKOUT, Layout
from tools.knowledge import note_checks
from tools.question import QUESTION, ask
from tools.report import ToolError, say
from tools.workspace import HOME, Workspace, interactive

VERBS = ("up", "down", "purge", "preview", "env", "outputs", "forward", "pulumi")


def up(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Brings the stack up and says where everything is; one that did not run before is asked a first question.

    HEADRACE_QUESTION asks another one, and asks in any case.
    """
    if workspace.target != "local":
        return _up_on_cluster(workspace, arguments)
    ran = Session(_layout(workspace).record("ray")).alive
    with workspace.locked() as lock:
        # A refresh costs a moment and finds what died, for example at a reboot.
        status = workspace.pulumi("up", "--yes", "--skip-preview", "--refresh", *_quiet(), *arguments, lock=lock)
    if status:
        return status
    outputs = workspace.outputs()
    url, key = str(outputs["url"]), str(outputs["api_key"])
    knowledge = load(workspace.settings(), frozenset(), str(_layout(workspace).secrets)).config.knowledge
    note_checks(knowledge, CHECKOUT, url, key)
    if not ran or "HEADRACE_QUESTION" in os.environ:
        _first_question(url, key)
    _print_outputs(workspace, outputs)
    return 0


def _up_on_cluster(workspace: Workspace, arguments: Sequence[str]) -> int:
    from tools.on_cluster import OnCluster, Watch

    there = OnCluster.of(workspace)
    rendered = there is not None and bool(there.config.kubernetes.render)
    ran = "url" in workspace.outputs()
    with workspace.locked() as lock, Watch(there) if there and not rendered else nullcontext():
        # No refresh: the cluster itself heals what dies, and each object's status would be asked for.
        status = workspace.pulumi("up", "--yes", "--skip-preview", *_quiet(), *arguments, lock=lock)
    if status or (there := there or OnCluster.of(workspace)) is None:
        return status
    outputs = workspace.outputs()
    if rendered:
        print(f"\nManifests are in {there.config.kubernetes.render}.")
        return 0
    if not ran or "HEADRACE_QUESTION" in os.environ:
        with Watch(there):
            there.wait_until_ready()
    if outputs["api_key"] and (not ran or "HEADRACE_QUESTION" in os.environ):
        with there.reachable() as url:
            _first_question(url, str(outputs["api_key"]))
    _print_outputs(workspace, outputs)
    return 0


def down(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Ends everything the stack runs, and says what stays."""
    if workspace.target != "local":
        raise ToolError(
            "on a cluster the data lies in the namespace and goes with it: `make purge` ends the stack with its data"
        )
    with workspace.locked() as lock:
        status = workspace.pulumi("destroy", "--yes", "--skip-preview", *_quiet(), *arguments, lock=lock)
        if status:
            return status
        layout = _layout(workspace)
        _sweep(layout)
    print("\nNothing of the stack runs any more.")
    if layout.data.exists():
        print(f"Kept: {layout.data} (documents, answers, metrics). `make purge` deletes it.")
    return 0


def purge(workspace: Workspace, arguments: Sequence[str]) -> int:
    """`down`, and deletes the stack's data and its Pulumi state."""
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
    print("\nNothing of the stack is left in the cluster.")
    return status


def forward(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Makes the API of a stack on a cluster reachable on this host, until Ctrl-C; the argument is a port."""
    from tools.on_cluster import OnCluster

    if workspace.target == "local" or (there := OnCluster.of(workspace)) is None:
        raise ToolError("only a stack on a cluster has something to forward")
    with there.forwarded(int(arguments[0]) if arguments else 0) as port:
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
    outputs = _outputs(workspace)
    print(f"export URL={shlex.quote(str(outputs['url']))}")
    print(f"export KEY={shlex.quote(str(outputs['api_key']))}")
    return 0


def outputs(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Prints where everything is."""
    del arguments
    _print_outputs(workspace, _outputs(workspace))
    return 0


def pulumi(workspace: Workspace, arguments: Sequence[str]) -> int:
    """Runs Pulumi itself, with this checkout's backend and passphrase."""
    if not arguments:
        raise ToolError("say what Pulumi should do, for example `python -m tools.stack pulumi config`")
    return workspace.pulumi(*arguments)


def _quiet() -> list[str]:
    return [] if interactive() else ["--non-interactive"]


def _outputs(workspace: Workspace) -> dict[str, object]:
    outputs = workspace.outputs()
    if "url" not in outputs:
        raise ToolError(f"stack '{workspace.stack}' is not up; run `make up`")
    return outputs


def _layout(workspace: Workspace) -> Layout:
    """The stack's folders, which the configuration may have moved."""
    return Layout.for_stack(workspace.stack, workspace.setting("state"))


def _sweep(layout: Layout) -> None:
    """Ends what an interrupted `up` started and no state knows of, and removes what only a running stack needs."""
    for record in sorted((layout.state / "run").glob("*")):
        Session(record).end()
    for folder in (layout.state / "run", layout.state / "logs", layout.metrics, layout.secrets, layout.temp):
        shutil.rmtree(folder, ignore_errors=True)
    (layout.state / "prometheus.yml").unlink(missing_ok=True)


def _first_question(url: str, key: str) -> None:
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
        print("  API key      in the store that kubernetes.external_secret names")
    if outputs["prometheus_url"]:
        print(f"  Prometheus   {outputs['prometheus_url']}")
    if isinstance(dashboards, dict):
        for name, url in sorted(dashboards.items()):
            if url != outputs["prometheus_url"]:
                print(f"  {name:<12} {url}")
    if ".svc:" in str(outputs["url"]):
        print(f"  From here    {verb} forward 8080")
    print('  For scripts  eval "$(make -s env)"')


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.stack", description=__doc__)
    parser.add_argument("--stack", default=os.environ.get("STACK", "local"))
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to Pulumi")
    options = parser.parse_args(argv)
    arguments = [a for i, a in enumerate(options.arguments) if (i, a) != (0, "--")]
    os.chdir(CHECKOUT)
    try:
        return int(globals()[options.verb](Workspace.of(options.stack), arguments))
    except ToolError as e:
        say(f"error: {e}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; run the same command again to go on")
        return 130


if __name__ == "__main__":
    sys.exit(main())
