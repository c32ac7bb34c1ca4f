"""A real Prometheus with all our rules, fed with what every program prints."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import yaml

from monitoring.dashboards.variables import without_variables
from monitoring.groups import GROUPS
from monitoring.rules_file import document
from tests.contract.monitoring.exposition import JOBS, Scraped, World
from tests.servers.process import Server
from tests.stacks.monitored import compared, panels, recorded
from tools.binaries import find

RULES = [rule for group in GROUPS for rule in group.rules]
ODD = 'a"}b\\{c}\n.*|é 😀'
"""The label `model` of one target: all that PromQL and regular expressions take for their own."""


def job(name, address, labels):
    """A scrape job; what is scraped may bring labels of a target, as kube-state-metrics does."""
    static = [{"targets": [address], "labels": labels}]
    return {"job_name": name, "metrics_path": f"/{name}", "honor_labels": True, "static_configs": static}


class Prometheus(Server):
    """Prometheus with all rules, which scrapes and evaluates each second."""

    def __init__(self, scraped, world):
        super().__init__()
        self.world = world
        self.port = self._port()
        rules = document(GROUPS)
        for group in rules["groups"]:
            group["interval"] = "1s"
            for rule in group[
                "rules"
            ]:  # objectives count the requests between two evaluations, which are here 1 s apart
                rule["expr"] = rule["expr"].replace("offset 15s", "offset 1s").replace("offset 45s", "offset 2s")
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
        self.url = f"http://{address}"
        self.http = httpx.Client(base_url=f"http://{address}/api/v1", timeout=60)
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


QUERIES = list(dict.fromkeys(without_variables(each.expression) for each in (*recorded(), *compared(), *panels())))


@contextmanager
def loaded() -> Iterator[Prometheus]:
    """Runs it; what it finds grows with each second."""
    world = World([*(rule.expression for rule in RULES), *QUERIES])
    world.targets.append({"model": ODD})
    scraped = Scraped(world)
    server = Prometheus(scraped, world)
    try:
        yield server
    finally:
        server.http.close()
        server.close()
        scraped.close()
