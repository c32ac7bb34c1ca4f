"""The blocks of code in README.md and the pages below docs: which a reader runs, and why some are not run by tests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    """One block: its page, as the repository names it, and the line on which it begins."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Returns the pages that have blocks of code that readers run."""
    return [str(path.relative_to(ROOT)) for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))]


def of(page: str) -> Iterator[Snippet]:
    """Yields the blocks of a page in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        yield Snippet(page, text.count("\n", 0, found.start()) + 1, found["language"], dedent(found["text"]))


RUNNABLE = ("sh", "python", "js", "console")
"""Languages of what a reader runs."""

SHOWN = ("yaml", "json", "sql", "promql", "html", "ini", "caddyfile", "nginx", "mermaid", "text")
"""Languages of what a reader reads, or writes into a file or a program that is not the stack's."""

CLOUD = "needs an account of the cloud"
CLUSTER = "needs a stack on a cluster"
CHANGES = "changes the stack that other tests ask"
UP = "brings a stack up"
ELSEWHERE = "needs a server of the reader's own"
SAMPLES = "needs packages of others; tests/contract/routes runs what those document"
USAGE = "usage lines of each command, written from the program"

NOT_RUN: Mapping[str, str | Mapping[str, str]] = {
    "README.md": {"git clone ": UP, "make up MODEL=list": UP, "make page": "needs the reader's own stack and browser"},
    "docs/benchmarks.md": "takes minutes, and needs the machine for itself",
    "docs/how-to/add-a-remote-model.md": {".venv/bin/python -m tools.stack pulumi config set": CHANGES},
    "docs/how-to/air-gapped.md": CLUSTER,
    "docs/how-to/aws-first-month.md": CLOUD,
    "docs/how-to/aws.md": CLOUD,
    "docs/how-to/azure-first-month.md": CLOUD,
    "docs/how-to/azure.md": CLOUD,
    "docs/how-to/back-up-and-restore.md": {
        "python -m serving.store key backup-2026-05.key": CLUSTER,
        "kubectl -n headrace create job backup-now": CLUSTER,
        ".venv/bin/python -m serving.store restore": CHANGES,
        "kubectl -n headrace delete rayservice": CLUSTER,
    },
    "docs/how-to/build-images.md": "builds images, with Docker or as root; tests/images/built does",
    "docs/how-to/change-a-cluster.md": CLUSTER,
    "docs/how-to/choose-a-model.md": UP,
    "docs/how-to/connect-an-mcp-server.md": {"pulumi config set": CHANGES},
    "docs/how-to/export-feedback.md": {
        ".venv/bin/python -m tools.environment redaction": "needs rated answers; tests/client/test_tutorial.py exports",
        "import torch": "trains for minutes; tests/training does",
    },
    "docs/how-to/fetch-weights.md": {".venv/bin/python -m tools.stack --stack mine": CLUSTER},
    "docs/how-to/tune-a-model.md": "needs the training environment; tests/contract/hub/jobs runs jobs",
    "docs/how-to/hub.md": {
        "headrace hub versions register": "needs an adapter; tests/contract/hub/test_registering.py registers some",
        'curl -s "$URL/v1/hub/versions"': "needs an adapter; tests/contract/hub/test_registering.py registers some",
        "headrace hub versions serve": "needs an adapter; tests/contract/hub/test_live.py serves some",
        "headrace hub versions retire": "needs a version",
    },
    "docs/how-to/forget-a-user.md": {".venv/bin/python -m serving.store forget-export": CLUSTER},
    "docs/how-to/gcp-first-month.md": CLOUD,
    "docs/how-to/gcp.md": CLOUD,
    "docs/how-to/gitops.md": CLUSTER,
    "docs/how-to/give-an-assistant-tools.md": {
        "pulumi config set --secret --path 'headrace:tools[0].headers.Authorization' ": CHANGES,
        "pulumi config set --secret --path 'headrace:tools[0].headers.Authorization.tenants": CHANGES,
        "answer = client.chat.completions.create(": "needs a call that waits for approval",
    },
    "docs/how-to/hold-a-stack-to-policies.md": {
        "make preview STACK=kubeconfig": CLUSTER,
        "helm template": "needs Helm on PATH; tests/unit/charts holds the same manifests to the policies",
        "make preview ARGS=": CHANGES,
    },
    "docs/how-to/keep-the-state.md": CLOUD,
    "docs/how-to/kserve.md": CLUSTER,
    "docs/how-to/kubernetes.md": CLUSTER,
    "docs/how-to/load-many-documents.md": "needs a folder; tests/contract/retrieval/test_bulk.py has one",
    "docs/how-to/onprem.md": "needs machines with SSH",
    "docs/how-to/operate.md": {
        "kubectl get": CLUSTER,
        "kubectl -n monitoring": CLUSTER,
        ".venv/bin/python -m pytest": "runs tests",
    },
    "docs/how-to/plan-capacity.md": {".venv/bin/python -m bench strategies": ELSEWHERE},
    "docs/how-to/recover-after-a-crash.md": CHANGES,
    "docs/how-to/release-a-version.md": "needs a managed alias and a second model; tests/contract/hub has them",
    "docs/how-to/release.md": "needs a release, and its registry",
    "docs/how-to/rotate-secrets.md": CLUSTER,
    "docs/how-to/rotate-the-api-key.md": {
        "rm .headrace/local/secrets/api_key": CHANGES,
        ".venv/bin/python -m tools.stack --stack mine": CLUSTER,
    },
    "docs/how-to/run-in-ci.md": "changes the checkout",
    "docs/how-to/see-metrics.md": {
        "jq -c": "needs jq, in a folder of Ray's logs",
        "kubectl -n monitoring get secret": CLUSTER,
    },
    "docs/how-to/serve-with-vllm.md": CLUSTER,
    "docs/how-to/single-sign-on.md": {
        "pulumi config set": CHANGES,
        'await fetch("/auth/key"': "runs in a page of the stack; see tests/contract/api/sign_in/test_key_sign_in.py",
        "const session =": "needs a browser that is signed in; tests/client/test_sign_in.py does the same",
        "const answer =": "needs a browser that is signed in; tests/client/test_sign_in.py does the same",
        'curl -H "Authorization: Bearer $TOKEN"': "needs a token of an identity provider",
    },
    "docs/how-to/test-cluster.md": "brings a cluster up, as root",
    "docs/how-to/tls.md": {"kubectl delete service": CLUSTER},
    "docs/how-to/troubleshoot.md": {"kubectl taint node": CLUSTER},
    "docs/how-to/use-your-client.md": {
        "pip install headrace": "is for machines without a checkout; tests/contract/tools installs the wheel",
        "import os\nimport headrace": "needs the wheel, whose client tests/contract/tools asks a stack with",
        "import OpenAI from": SAMPLES,
        "import { createOpenAI } from": SAMPLES,
        "from agents import": SAMPLES,
        "from langchain_openai import": SAMPLES,
        "import os\nfrom anthropic": "needs Anthropic's package; tests/contract/routes/test_anthropic.py runs it",
        "import os\nfrom llama_index": SAMPLES,
        "claude mcp add": "needs Claude Code; tests/contract/routes/test_mcp_client.py connects MCP's client",
        "import asyncio\nimport os\nimport httpx2": "needs a package; tests/contract/routes/test_mcp_client.py runs it",
    },
    "docs/how-to/two-stacks.md": {"make up STACK=second": UP},
    "docs/how-to/upgrade.md": "checks out another version",
    "docs/how-to/upgrade-kuberay.md": CLUSTER,
    "docs/how-to/use-postgresql.md": CLUSTER,
    "docs/how-to/vllm-without-a-gpu.md": "installs 6 GB; test_vllm_on_cpu.py runs that vLLM in the soak",
    "docs/reference/command.md": USAGE,
    "docs/tutorial-app.md": "changes the stack; tests/contract/apps has the same agents in real processes",
    "docs/tutorial-assistant.md": "is run by tests/client/test_tutorial.py, which looks at what it prints too",
    "docs/tutorial-tuning.md": "needs tuning; tests/contract/hub/test_closed_loop.py types it, with a scripted model",
    "docs/tutorial.md": {"make up": UP},
}
"""Why no test runs a snippet: a reason for a whole page, or for each snippet by how it begins."""


def reason(snippet: Snippet) -> str | None:
    """Returns why no test runs a snippet; None for one that a test runs."""
    listed = NOT_RUN.get(snippet.page, {})
    if isinstance(listed, str):
        return listed
    return next((why for beginning, why in listed.items() if snippet.text.startswith(beginning)), None)


def run_of(page: str) -> Sequence[Snippet]:
    """Returns what a test runs of a page, in its order."""
    return [one for one in of(page) if one.language in RUNNABLE and reason(one) is None]
