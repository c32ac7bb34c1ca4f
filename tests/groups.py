"""Which tests a process of pytest-xdist runs together, with `--dist=loadgroup`.

xdist's own groups are marks, which it writes into the names of tests: pytest 9 lets nobody change these.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

ROUTES = {
    "the whole API": ("choices", "comply", "every_route", "guessing", "hostile", "loop", "schema", "valid_calls"),
    "clients of the whole API": ("javascript", "langchain", "neighbours", "python_samples"),
}
"""Modules that ask one gateway, which a process takes seconds to start: models, an index, an identity provider."""

GROUPS = {
    **{f"tests/contract/routes/test_{name}.py": group for group, names in ROUTES.items() for name in names},
    "tests/contract/page/test_built.py": "the page's sources",
    "tests/contract/page/test_served.py": "the page's files",
    "tests/contract/page/": "the page in a browser",
    "tests/contract/retrieval/test_index_bucket.py": "object stores",
    "tests/contract/store/objects/": "object stores",
    "tests/contract/store/upkeep/test_archive.py": "object stores",
    "tests/stack/dashboards/": "a browser",
    "tests/stack/test_dashboard_proxy.py": "a Ray",
    "tests/stack/test_scale_to_zero.py": "a Ray",
    "tests/stack/test_orphaned_actors.py": "another Ray",
    "tests/stack/test_vllm_replica.py": "another Ray",
    "tests/stack/": "the stack",
    "tests/client/": "the stack",
    "tests/images/": "machines",
    "tests/cluster/test_fetching.py": "machines",
    "tests/cluster/test_machines.py": "machines",
    "tests/cluster/test_onprem.py": "machines",
    "tests/cluster/scheduling/": "machines",
    "tests/cluster/runbooks/": "machines",
    "tests/cluster/test_cluster.py": "the cluster",
    "tests/cluster/test_made.py": "the cluster",
    "tests/cluster/test_preflight.py": "the cluster",
    "tests/cluster/": "the stack",
}
"""By how the names of their tests begin, the first that fits; tests of any other file are a group."""


def group_of(nodeid: str) -> str:
    """The group of a test."""
    fits = (group for beginning, group in GROUPS.items() if nodeid.startswith(beginning))
    return next(fits, nodeid.partition("::")[0])


class Groups(LoadScopeScheduling):
    """The tests of a group run in one process, in their order."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
