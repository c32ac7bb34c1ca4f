"""Rules as Prometheus and promtool read them, tried with promtool."""

from dataclasses import replace

import pytest
import yaml

from monitoring.addresses import Addresses
from monitoring.groups import GROUPS
from monitoring.promtest import promtest
from monitoring.rule import Alert, Case, Group, Recording, Sample
from monitoring.rules_file import document, text
from tests.contract.monitoring import promtool

FALLING = Case("10m", [Sample('headrace_engine_up{model="a"}', "1x4 0x20")])
STANDING = Case("10m", [Sample('headrace_engine_up{model="a"}', "1x24")])
ALERT = Alert(
    "NoHealthyReplica",
    "model:up:sum == 0",
    "2m",
    "page",
    "models",
    "{{ $labels.model }} has no replica",
    "models",
    fires=FALLING,
    silent=STANDING,
    labels={"area": "engines"},
)
RECORDING = Recording(
    "model:up:sum", "sum by (model) (headrace_engine_up)", "1", ("model",), "Replicas.", {"source": "test"}
)
GROUP = Group("engines", (RECORDING, ALERT))


def write(folder, group):
    (folder / "rules.yaml").write_text(text([group]))
    (folder / "test.yaml").write_text(yaml.safe_dump(promtest([group])))


def test_alerts_have_the_annotations_that_pagers_need():
    to = Addresses("https://runbooks.example.com", "https://grafana.example.com")
    [recording, alert] = document([GROUP], to)["groups"][0]["rules"]
    assert recording == {"record": "model:up:sum", "expr": RECORDING.expression, "labels": {"source": "test"}}
    assert alert["labels"] == {"severity": "page", "owner": "models", "area": "engines"}
    assert alert["annotations"] == {
        "summary": "{{ $labels.model }} has no replica",
        "description": alert["annotations"]["description"],
        "dashboard": "models",
        "dashboard_url": "https://grafana.example.com/d/headrace-models",
        "runbook_url": "https://runbooks.example.com/NoHealthyReplica.md",
    }


def test_without_an_address_an_alert_has_no_link():
    """A relative address leads nowhere from a message."""
    [_, alert] = document([GROUP])["groups"][0]["rules"]
    assert alert["annotations"].keys() == {"summary", "description", "dashboard"}


def test_descriptions_say_what_an_alert_means_and_where_to_read_on():
    rules = [rule for group in document(GROUPS)["groups"] for rule in group["rules"] if "alert" in rule]
    assert len(rules) > 100
    for rule in rules:
        said = rule["annotations"]["description"]
        assert said.endswith(f". What to do: the runbook {rule['alert']}.")
        assert "{{" not in said
        assert "](" not in said
        assert len(said) > len(rule["alert"]) + 60


def test_every_rule_passes_promtool(tmp_path):
    promtool.check(tmp_path, GROUPS)


def test_a_correct_alert_passes_promtool(tmp_path):
    write(tmp_path, GROUP)
    promtool.content(tmp_path, "test", "rules", "test.yaml")


@pytest.mark.parametrize(
    "case",
    [{"fires": STANDING}, {"silent": FALLING}],
    ids=["never fires", "is never silent"],
)
def test_an_alert_that_does_otherwise_is_found(tmp_path, case):
    write(tmp_path, Group("engines", (RECORDING, replace(ALERT, **case))))
    done = promtool.run(tmp_path, "test", "rules", "test.yaml")
    assert done.returncode == 1
    assert "NoHealthyReplica" in done.stdout + done.stderr
