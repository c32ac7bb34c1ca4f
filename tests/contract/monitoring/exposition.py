"""What the programs that Prometheus scrapes would answer: their samples, our catalogue, and what selectors ask for.

Counters grow with each scrape. Every metric has a row whose labels are all `v`, so that metrics which are joined meet;
a selector adds a row that has the values it asks for, so that a rule about `phase="Failed"` has something to find.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import promql_parser as promql

from monitoring.external import EXTERNAL
from monitoring.series import HISTOGRAM, OWN, Series
from serving.telemetry.catalogue import CATALOGUE
from tests.unit.monitoring.samples_of import FILES, families

Row = frozenset[tuple[str, str]]
ANY = "v"
SERIES = {**OWN, **EXTERNAL}
JOBS = tuple(sorted({s.source for s in SERIES.values()} - {"prometheus"}))


@dataclass
class Family:
    """One metric: its rows are without `le`."""

    kind: str
    series: Series
    buckets: tuple[str, ...] = ("0.1", "1.0", "+Inf")
    rows: dict[Row, float] = field(default_factory=dict)

    def lines(self, name: str, scrape: int) -> Iterator[str]:
        yield f"# TYPE {name} {self.kind}"
        for row, value in self.rows.items():
            if self.kind != "histogram":
                yield f"{name}{_braces(row)} {value if self.kind == 'gauge' else value + scrape}"
                continue
            for i, le in enumerate(self.buckets, 1):
                yield f"{name}_bucket{_braces(row | {('le', le)})} {i * scrape}"
            yield f"{name}_count{_braces(row)} {len(self.buckets) * scrape}"
            yield f"{name}_sum{_braces(row)} {0.05 * len(self.buckets) * scrape}"


def _braces(row: Row) -> str:
    return "{" + ",".join(f'{label}="{value}"' for label, value in sorted(row)) + "}" if row else ""


def metric(name: str) -> str:
    """The metric that a series belongs to."""
    return re.sub(r"_(bucket|sum|count)$", "", name) if name in SERIES and _is_part(name) else name


def _is_part(name: str) -> bool:
    stem = re.sub(r"_(bucket|sum|count)$", "", name)
    return all(f"{stem}{ending}" in SERIES for ending in HISTOGRAM)


class World:
    """The metrics of every job; `expressions` are those that shall find something."""

    def __init__(self, expressions: Iterable[str]) -> None:
        self.families: dict[str, Family] = {}
        self.targets: list[dict[str, str]] = []
        """Labels of targets that selectors of Prometheus's own series ask for, such as `up{container="exporter"}`."""
        for name, series in SERIES.items():
            self.families.setdefault(metric(name), Family("histogram" if _is_part(name) else series.kind, series))
        for one in CATALOGUE:
            if one.buckets:
                self.families[one.name].buckets = (*(str(float(b)) for b in one.buckets), "+Inf")
        for family in self.families.values():
            family.rows[frozenset((label, ANY) for label in family.series.labels if label != "le")] = 1.0
        self._add_samples()
        for expression in expressions:
            self._add_selected(expression)

    def _add_samples(self) -> None:
        for file in FILES:
            for printed in families(file):
                for sample in printed.samples:
                    if family := self.families.get(metric(sample.name)):
                        if sample.name.endswith("_bucket") and family.kind == "histogram":
                            les = [s.labels["le"] for s in printed.samples if s.name == sample.name]
                            family.buckets = tuple(dict.fromkeys(les))
                        row = frozenset((k, v) for k, v in sample.labels.items() if k != "le")
                        family.rows[row] = sample.value

    def _add_selected(self, expression: str) -> None:
        def visit(part: promql.Expr) -> None:
            if isinstance(part, promql.VectorSelector) and (family := self.families.get(metric(part.name or ""))):
                chosen = {label: ANY for label in family.series.labels if label != "le"}
                for matcher in part.matchers.matchers:
                    if matcher.name != "le":
                        _choose(chosen, matcher, expression)
                if family.series.source == "prometheus" and not family.series.labels and chosen not in self.targets:
                    self.targets.append(chosen)
                family.rows.setdefault(frozenset(chosen.items()), 1.0)

        promql.walk(promql.parse(expression), pre_visit=visit)

    def text(self, job: str, scrape: int) -> str:
        # Prometheus makes its own series, but alerts only while they fire.
        chosen = {n: f for n, f in self.families.items() if job == ("headrace" if n == "ALERTS" else f.series.source)}
        return "\n".join(line for name, family in chosen.items() for line in family.lines(name, scrape)) + "\n"


def _choose(chosen: dict[str, str], matcher: promql.Matcher, expression: str) -> None:
    """Gives a label the value that its matcher asks for."""
    name, value = matcher.name, matcher.value
    given = chosen.get(name, "")
    match matcher.op:
        case promql.MatchOp.Equal:
            chosen[name] = value
        case promql.MatchOp.NotEqual if given == value:
            chosen[name] = f"{value}w"
        case promql.MatchOp.Re if not re.fullmatch(value, given):
            chosen[name] = _fitting(value)
            assert re.fullmatch(value, chosen[name]), f"no value is known for {name}=~{value!r} in {expression}"
        case promql.MatchOp.NotRe if re.fullmatch(value, given):
            chosen[name] = "other"
            assert not re.fullmatch(value, "other"), f"no value is known for {name}!~{value!r} in {expression}"


def _fitting(pattern: str) -> str:
    """A string that a plain pattern matches: the first of each choice, and something for a wildcard."""
    inner = re.compile(r"\((?:\?:)?([^|()]*)[^()]*\)")
    while inner.search(pattern):
        pattern = inner.sub(r"\1", pattern)
    first = pattern.strip("^$").partition("|")[0]
    return re.sub(r"\\(.)", r"\1", re.sub(r"(?<!\\)\.[+*]?", ANY, first))


class Scraped:
    """An HTTP server on a free port of loopback that answers `/<job>`, further with each scrape."""

    def __init__(self, world: World) -> None:
        scrapes: dict[str, int] = defaultdict(int)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                job = self.path.strip("/")
                scrapes[job] += 1
                body = world.text(job, scrapes[job]).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
