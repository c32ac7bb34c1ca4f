"""Goes through a page as a reader of a running stack does: a shell and a Python, in a folder like the checkout."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import httpx

from tests.pages import snippets
from tests.pages.sessions import Python, Shell
from tests.stacks.stack import CHECKOUT, Stack

BEGIN = """
unset ARGS MAKEFLAGS # of the make that runs the tests
make() {
  if [ "$*" = "-s env" ]; then
    printf "export URL='%s'\\nexport KEY='%s'\\n" "$URL" "$KEY"
  else
    # The environment is there: in this folder make would make it anew, for this folder.
    command make RUN= DEV= "$@"
  fi
}
curl() { command curl --fail-with-body "$@"; }
"""
"""An HTTP status of an error ends a shell; `make env` says at once what the stack's own has said."""


def _newest_key(of: str) -> Callable[[httpx.Client], str]:
    def find(stack: httpx.Client) -> str:
        keys = stack.get("/v1/admin/keys", params={"tenant": "birds", "user": of}).raise_for_status().json()["data"]
        return str(max(keys, key=lambda key: key["created_at"])["id"])

    return find


def _memory(stack: httpx.Client) -> str:
    facts = stack.get("/v1/memories", params={"assistant": "friend"}).raise_for_status().json()["data"]
    return str(facts[0]["id"])


def _completion(stack: httpx.Client) -> str:
    ask = {"model": "brief", "messages": [{"role": "user", "content": "What is a lock?"}]}
    return str(stack.post("/v1/chat/completions", json=ask).raise_for_status().json()["id"])


Put = Mapping[str, str | Callable[[httpx.Client], str]]

BRIEF: Put = {'"smollm2"': '"brief"'}
"""The small model behind an assistant that stops early: left alone it goes on until its context is full."""

PUT: Mapping[str, Put] = {
    "docs/how-to/audit.md": {"/elsewhere/": ""},
    "docs/how-to/back-up-and-restore.md": {"/var/backups": "backups", "/secure/": ""},
    "docs/how-to/conversations.md": {**BRIEF, "support": "friend", "mem_…": _memory},
    "docs/how-to/feedback.md": {**BRIEF, "chatcmpl-…": _completion},
    "docs/how-to/know-what-answers-cost.md": {'"large"': '"ticker"'},
    "docs/how-to/operate.md": {"http://127.0.0.1:9090": "$PROMETHEUS"},
    "docs/how-to/reason-with-a-strategy.md": {'"reckoner"': '"miller"'},
    "docs/how-to/responses.md": BRIEF,
    "docs/how-to/retry-safely.md": BRIEF,
    "docs/how-to/see-metrics.md": {"http://127.0.0.1:9090": "$PROMETHEUS"},
    "docs/how-to/share-documents.md": {"offer.pdf": "offer.md"},
    "docs/how-to/single-sign-on.md": {"acme": "acme-by-sign-on"},
    "docs/how-to/tenants.md": {
        "birds fish maps legal sales support research finance people press": "birds press",
        "key_5f0c…": _newest_key("search-page"),
    },
}
"""What a reader puts in the place of what a page shows: the names and addresses of this stack, and ids that it gave."""

BEFORE: Mapping[str, str] = {
    "docs/how-to/budgets.md": """
        headrace tenants create acme
        headrace users create boss --role admin --tenant acme
        headrace keys create --user boss --tenant acme > acme.key
    """,
    "docs/how-to/back-up-and-restore.md": "mkdir backups",
    "docs/how-to/evaluate-a-model.md": "touch train.jsonl",
    "docs/how-to/forget-a-user.md": "headrace users create ada",
    "docs/how-to/set-guardrails.md": "headrace users create search-page",
    "docs/how-to/share-documents.md": "printf '# Offer\\n\\nTen sacks of flour for forty crowns.\\n' > offer.md",
}
"""What a reader has made before, for the shell."""


def read(page: str, stack: Stack, folder: Path) -> None:
    """Runs what a page shows, in its order; the quotas that it sets are gone afterwards.

    Raises `AssertionError`, with the snippet and what it printed, when one fails.
    """
    _like_checkout(folder, stack)
    environment = {
        "URL": stack.url,
        "KEY": stack.key,
        "HEADRACE_URL": stack.url,
        "HEADRACE_API_KEY": stack.key,
        "PROMETHEUS": stack.prometheus_url,
        "STACK": stack.name,
        "PATH": f"{CHECKOUT / '.venv/bin'}:{os.environ['PATH']}",
    }
    with stack.client() as client, ExitStack() as stacked:
        quotas = _quotas(client)
        shell = stacked.enter_context(closing(Shell(environment, folder, BEGIN)))
        python = stacked.enter_context(closing(Python(environment, folder)))
        stacked.callback(_remove_quotas, client, quotas)
        shell.type(BEFORE.get(page, ""))
        for snippet in snippets.run_of(page):
            program = snippet.text
            for shown, put in PUT.get(page, {}).items():
                if shown in program:
                    program = program.replace(shown, put if isinstance(put, str) else put(client))
            try:
                (python if snippet.language == "python" else shell).type(program)
            except AssertionError as failure:
                raise AssertionError(f"{snippet}: {failure}") from None


def _like_checkout(folder: Path, stack: Stack) -> None:
    """Links what is in the checkout into a folder, where the stack's state is that of the stack `local`."""
    for path in CHECKOUT.iterdir():
        if path.name not in (".git", ".headrace"):
            (folder / path.name).symlink_to(path)
    (folder / ".headrace").mkdir()
    (folder / ".headrace" / "local").symlink_to(stack.layout.state)


def _quotas(client: httpx.Client) -> set[str]:
    return {one["quota_id"] for one in client.get("/v1/admin/quotas").raise_for_status().json()["data"]}


def _remove_quotas(client: httpx.Client, before: set[str]) -> None:
    """Removes the quotas of the stack's own tenant, which would limit other tests."""
    for quota in _quotas(client) - before:
        client.delete("/v1/admin/quotas", params={"quota_id": quota}).raise_for_status()
