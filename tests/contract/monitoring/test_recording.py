"""Recording rules say the same of every engine."""

from dataclasses import replace

import pytest

from monitoring import recording
from monitoring.known_series import KNOWN, recorded_series
from monitoring.rule import Group, Recording, Sample
from tests.contract.monitoring import promtool

RULES = [rule for group in recording.GROUPS for rule in group.rules]


def test_each_model_series_tells_its_engine():
    for rule in (r for r in RULES if r.name.startswith("llm:")):
        assert rule.labels == ("model", "engine")
        assert rule.fixed["engine"] in ("gateway", "vllm", "ray-vllm", "llama.cpp")
        assert " by (" in rule.expression


def test_no_engine_is_recorded_twice():
    made = [(rule.name, *rule.fixed.items()) for rule in RULES]
    assert len(made) == len(set(made))


def test_both_ways_of_vllm_have_the_same_series():
    names = {engine: {r.name for r in RULES if r.fixed.get("engine") == engine} for engine in ("vllm", "ray-vllm")}
    assert names["vllm"] == names["ray-vllm"] != set()


def test_quantiles_are_of_a_window():
    quantiles = [rule for rule in RULES if "histogram_quantile" in rule.expression]
    assert quantiles
    for rule in quantiles:
        assert rule.name.endswith("_5m")
        assert "_bucket[5m]" in rule.expression


def test_recorded_series_are_known_with_all_their_labels():
    assert KNOWN["llm:kv_cache_used:ratio"].labels == ("engine", "model")
    assert KNOWN["llm:kv_cache_used:ratio"].kind == "gauge"


def test_rules_of_one_name_agree():
    rule = Recording("a:b:c", "up", "1", ("job",), "Something.")
    assert recorded_series([Group("g", (rule, replace(rule, expression="up + 1")))])["a:b:c"].labels == ("job",)
    with pytest.raises(ValueError, match="a:b:c is recorded twice, with different labels"):
        recorded_series([Group("g", (rule, replace(rule, labels=("pod",))))])


def test_a_server_of_llama_cpp_is_its_model_or_else_its_address(tmp_path):
    series = "llamacpp:requests_processing"
    samples = [
        Sample(f'{series}{{model="small",pid="1",instance="a:9464"}}', "1x10"),
        Sample(f'{series}{{model="small",pid="2",instance="a:9464"}}', "2x10"),
        Sample(f'{series}{{model="small",pid="1",instance="b:9464"}}', "4x10"),
        Sample(f'{series}{{instance="c:8080"}}', "8x10"),
    ]
    name = "llm:requests_running:sum"
    asked = {
        "expr": f'{name}{{engine="llama.cpp"}}',
        "eval_time": "5m",
        "exp_samples": [
            {"labels": f'{name}{{engine="llama.cpp", model="{model}"}}', "value": value}
            for model, value in (("small", 7), ("c:8080", 8))
        ],
    }
    promtool.judge(tmp_path, recording.GROUPS, [promtool.ask(asked, samples, "1m")], "1m")
