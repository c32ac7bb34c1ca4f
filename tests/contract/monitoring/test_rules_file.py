"""Rules as Prometheus and promtool read them, tried with promtool."""

from dataclasses import replace

import pytest
import yaml

from monitoring.groups import GROUPS
from monitoring.rule import Alert, Case, Group, Recording, Sample
from monitoring.rules_file import document, text
from tests.contract.monitoring import promtool
from tests.monitoring.promtest import promtest

FALLING = Case("10m", [Sample('headrace_engine_up{model="a"}', "1x4 0x20")])
STANDING = Case("10m", [Sample('headrace_engine_up{model="a"}', "1x24")])
ALERT = Alert(
    "ModelGone",
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
    [recording, alert] = document([GROUP], "https://runbooks.example.com")["groups"][0]["rules"]
    assert recording == {"record": "model:up:sum", "expr": RECORDING.expression, "labels": {"source": "test"}}
    assert alert["labels"] == {"severity": "page", "owner": "models", "area": "engines"}
    assert alert["annotations"] == {
        "summary": "{{ $labels.model }} has no replica",
        "dashboard": "models",
        "runbook_url": "https://runbooks.example.com/ModelGone.md",
    }


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
    assert "ModelGone" in done.stdout + done.stderr
