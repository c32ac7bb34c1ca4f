"""The configuration of the local Prometheus, tried with promtool."""

import yaml

from monitoring.groups import GROUPS
from monitoring.rules_file import text
from monitoring.scrape import scrape_config
from tests.contract.monitoring import promtool


def test_each_job_has_its_target_and_rules_are_loaded(tmp_path):
    (tmp_path / "rules.yaml").write_text(text(GROUPS))
    (tmp_path / "prometheus.yml").write_text(
        scrape_config({"ray": "127.0.0.1:2", "headrace": "127.0.0.1:1"}, ["rules.yaml"])
    )
    rules = sum(len(group.rules) for group in GROUPS)
    assert f"SUCCESS: {rules} rules found" in promtool.content(tmp_path, "check", "config", "prometheus.yml")


def test_without_rules_there_is_no_key_for_them():
    config = yaml.safe_load(scrape_config({"headrace": "127.0.0.1:1"}))
    assert "rule_files" not in config
    assert [c["job_name"] for c in config["scrape_configs"]] == ["headrace"]
