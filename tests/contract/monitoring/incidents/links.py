"""How many links lead from the overview to a page: by what dashboards, alerts and runbooks really contain."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from functools import cache

from monitoring.addresses import Addresses
from monitoring.dashboards import DASHBOARDS, grafana
from monitoring.dashboards.links import links_by_panel
from monitoring.groups import GROUPS
from monitoring.rules_file import document
from monitoring.runbook_text import FOLDER

TO = Addresses("https://git.example.com/runbooks", "https://grafana.example.com")
MOST = 3
"""Links from the overview to what names a cause."""
_RUNBOOK = re.compile(r"\]\((\w+)\.md\)")


@cache
def distances() -> Mapping[str, int]:
    """Returns the number of links from the overview to each page that can be reached, by address."""
    graph: dict[str, set[str]] = defaultdict(set)
    for here, there in _links():
        graph[here].add(there)
    start = TO.dashboard("overview")
    found, todo = {start: 0}, deque([start])
    while todo:
        here = todo.popleft()
        for there in graph[here] - found.keys():
            found[there] = found[here] + 1
            todo.append(there)
    return found


def _links() -> Iterator[tuple[str, str]]:
    pages = {board: grafana.document(board, links_by_panel(board, GROUPS, TO)) for board in DASHBOARDS}
    for board, page in pages.items():
        here = TO.dashboard(board.name)
        for link in page["links"]:
            if link["type"] == "dashboards":  # a menu of the dashboards with one of its tags
                yield from (
                    (here, TO.dashboard(other.name))
                    for other, there in pages.items()
                    if set(link["tags"]) & set(there["tags"])
                )
            else:
                yield here, link["url"]
        for panel in page["panels"]:
            yield from ((here, link["url"]) for link in panel.get("links") or ())
    rules = [rule for group in document(GROUPS, TO)["groups"] for rule in group["rules"] if "alert" in rule]
    for rule in rules:
        alert = TO.alert(rule["alert"])
        yield TO.alert(), alert  # the list has each
        yield alert, rule["annotations"]["runbook_url"]
        yield alert, rule["annotations"]["dashboard_url"]
        for other in _RUNBOOK.findall((FOLDER / f"{rule['alert']}.md").read_text(encoding="utf-8")):
            yield TO.runbook(rule["alert"]), TO.runbook(other)
