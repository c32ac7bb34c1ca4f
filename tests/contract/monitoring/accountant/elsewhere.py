"""Series that other programs than a gateway fill, with the reason: no script of requests can know their truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

import promql_parser as promql

from monitoring.dashboards.variables import without_variables
from monitoring.groups import GROUPS
from monitoring.rule import Recording

_REPLICA = "replicas of engines report it, and none runs beside the accountant's gateways"
_RETRIEVAL = "the retrieval replica reports it"
ELSEWHERE: Mapping[str, str] = {
    "headrace_engine_up": _REPLICA,
    "headrace_engine_leases": _REPLICA,
    "headrace_engine_slots": _REPLICA,
    "headrace_engine_lease_seconds": _REPLICA,
    "headrace_engine_load_seconds": _REPLICA,
    "headrace_engine_restarts_total": _REPLICA,
    "headrace_engine_busy_seconds_total": _REPLICA,
    "headrace_engine_available_seconds_total": _REPLICA,
    "headrace_engine_price": _REPLICA,
    "headrace_weights_": _REPLICA,
    "headrace_adapter_missing": _REPLICA,
    "headrace_retrieval_duration_seconds": _RETRIEVAL,
    "headrace_retrieval_top_score": _RETRIEVAL,
    "headrace_reranks_total": _RETRIEVAL,
    "headrace_ingested_chunks_total": _RETRIEVAL,
    "headrace_reindexed_chunks_total": _RETRIEVAL,
    "headrace_index_age_seconds": "a collection that the stack keeps equal to documents has an age",
    "headrace_backup_age_seconds": "the backup writes it",
    "llamacpp:": "llama.cpp's server reports it",
    "vllm:": "vLLM reports it",
    "ray_": "Ray reports it, and vLLM through Ray",
    "haproxy_": "HAProxy reports it",
    "DCGM_": "NVIDIA's exporter of GPUs reports it",
    "kube_": "kube-state-metrics reports it",
    "kubelet_": "a kubelet reports it",
    "certmanager_": "cert-manager reports it",
}
"""How the names of series begin, and who fills them."""

RECORDINGS = [rule for group in GROUPS for rule in group.rules if isinstance(rule, Recording)]


def selectors(expression: str) -> Iterator[promql.VectorSelector]:
    """Yields every selector of an expression."""
    found: list[promql.VectorSelector] = []

    def visit(tree: promql.Expr) -> None:
        if isinstance(tree, promql.MatrixSelector):
            found.append(tree.vector_selector)
        elif isinstance(tree, promql.VectorSelector):
            found.append(tree)

    promql.walk(promql.parse(expression), pre_visit=visit)
    yield from found


@cache
def fillers(expression: str) -> tuple[str, ...]:
    """Returns which of `ELSEWHERE` an expression reads; of recorded series, those that all of their rules read."""
    found = set()
    for selector in selectors(without_variables(expression)):
        name = selector.name or ""
        found |= {begin for begin in ELSEWHERE if name.startswith(begin)}
        wanted = {m.name: m.value for m in selector.matchers.matchers if m.op == promql.MatchOp.Equal}
        read = [
            set(fillers(rule.expression))
            for rule in RECORDINGS
            if rule.name == name and all(wanted.get(k, v) == v for k, v in rule.fixed.items())
        ]
        if all(read):
            found |= set().union(*read)
    return tuple(sorted(found))
