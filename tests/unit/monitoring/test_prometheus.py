"""A real Prometheus, fed with what every program prints, has an answer for every rule and every panel."""

import json
import math
import re
import time

import httpx
import pytest
import yaml

from monitoring import dashboards
from monitoring.expression import operands
from monitoring.groups import GROUPS
from monitoring.rule import Alert, Recording
from monitoring.rules_file import document
from tests.monitored import ask, finite
from tests.servers import Server, free_port
from tests.unit.monitoring.exposition import JOBS, Scraped, World
from tests.wait import eventually
from tools import find

WITHIN_S = 30
RULES = [rule for group in GROUPS for rule in group.rules]


def job(name, address, labels):
    """A scrape job; what is scraped may bring labels of a target, as kube-state-metrics does."""
    static = [{"targets": [address], "labels": labels}]
    return {"job_name": name, "metrics_path": f"/{name}", "honor_labels": True, "static_configs": static}


class Prometheus(Server):
    """Prometheus with all rules, which scrapes and evaluates each second."""

    def __init__(self, scraped, world):
        super().__init__()
        self.port = free_port()
        rules = document(GROUPS)
        for group in rules["groups"]:
            group["interval"] = "1s"
        (self.folder / "rules.yaml").write_text(json.dumps(rules))
        settings = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [
                *(job(name, scraped.address, {}) for name in JOBS),
                *(job(f"target-{i}", scraped.address, labels) for i, labels in enumerate(world.targets)),
            ],
        }
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
        program = find.bin_dir(["prometheus"]) / "prometheus"
        address = f"127.0.0.1:{self.port}"
        self._start(
            [
                str(program),
                f"--config.file={self.folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                f"--web.listen-address={address}",
            ]
        )
        self.http = httpx.Client(base_url=f"http://{address}/api/v1", timeout=10)
        self._ready([self.port])

    def values(self, expression):
        """The values of an instant query; none while Prometheus starts."""
        answer = self.http.post("/query", data={"query": expression})
        if answer.status_code == 503:
            return []
        body = answer.json()
        assert answer.status_code == 200, f"{expression}: {body.get('error')}"
        return [float(one["value"][1]) for one in body["data"]["result"]]

    def rules(self):
        return [rule for group in self.http.get("/rules").json()["data"]["groups"] for rule in group["rules"]]


def panels():
    """What dashboards ask, without their variables."""
    return [dashboards.plain(query.expression) for query in dashboards.queries()]


def recorded():
    """A selector of each series that is recorded, with the labels that tell its rule from others of the name."""
    for rule in RULES:
        if isinstance(rule, Recording):
            yield f"{rule.name}{{{','.join(f'{k}={json.dumps(v)}' for k, v in rule.fixed.items())}}}"


def compared():
    """What alerts compare, as of now: this Prometheus has no past that an offset could reach."""
    for rule in RULES:
        if isinstance(rule, Alert):
            yield from (re.sub(r" offset \w+", "", operand) for operand in operands(rule.expression))


QUERIES = list(dict.fromkeys((*recorded(), *compared(), *panels())))


@pytest.fixture(scope="module")
def prometheus():
    world = World([*(rule.expression for rule in RULES), *QUERIES])
    scraped = Scraped(world)
    server = Prometheus(scraped, world)
    yield server
    server.http.close()
    server.close()
    scraped.close()


def test_every_rule_and_every_panel_finds_something(prometheus):
    waiting, until = {query: [] for query in QUERIES}, time.monotonic() + WITHIN_S
    while waiting and time.monotonic() < until:
        for query in list(waiting):
            waiting[query] = prometheus.values(query)
            if waiting[query] and all(math.isfinite(value) for value in waiting[query]):
                del waiting[query]
        time.sleep(0.2)
    assert not waiting, "\n".join(f"{query}: {values or 'nothing'}" for query, values in waiting.items())
    assert [rule["lastError"] for rule in prometheus.rules() if rule.get("health") == "err"] == []


def test_it_is_asked_as_a_running_stack_is(prometheus):
    """`$model` stands for all, a given variable for itself; an answer over time has a value for each step."""
    url = str(prometheus.http.base_url).removesuffix("/api/v1/")
    name = 'headrace_engine_up{model=~"$model",job=~"$job"}'
    eventually(lambda: finite(ask(url, name)), "a first answer")
    assert {sample.labels["job"] for sample in ask(url, name, job="headrace")} == {"headrace"}
    assert ask(url, name, job="none") == []
    assert all(len(sample.values) > 1 for sample in ask(url, f"{name} or vector(0)", over_s=10, step_s=1))
    assert ask(url, "scalar(vector(1)/0)")[0].values == (math.inf,)
    with pytest.raises(AssertionError, match="parse error"):
        ask(url, "sum(")
