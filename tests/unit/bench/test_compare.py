"""The comparison of a benchmark in two checkouts."""

from __future__ import annotations

import json
from argparse import Namespace

import pytest

from bench import compare
from bench.processes import BenchError

RELAY = [
    {"through": "upstream", "chunks": "burst", "clients": 1, "CPU ms per stream": 0.2},
    {"through": "headrace", "chunks": "burst", "clients": 1, "CPU ms per stream": 2.0},
    {"through": "headrace", "chunks": "burst", "clients": 32, "CPU ms per stream": 1.5},
]
ENGINE = [{"clients": 4, "CPU ms per token direct": 11.5, "CPU ms per token headrace": 13.9}]


def test_only_headraces_processor_times_are_compared():
    assert compare.cpu_times(RELAY) == {"headrace burst 1": 2.0, "headrace burst 32": 1.5}
    assert compare.cpu_times(ENGINE) == {"4": 13.9}
    assert compare.cpu_times([{"clients": 1, "tokens/s": 3}]) == {}


def test_a_ratio_is_the_median_of_the_rounds():
    assert compare.ratios([{"a": 1.0}, {"a": 2.0}, {"a": 9.0}], [{"a": 1.0}, {"a": 1.0}, {"a": 3.0}]) == {"a": 2.0}


@pytest.mark.parametrize(("here", "status"), [(1.03, 0), (1.04, 1)])
def test_the_exit_status_tells_whether_the_limit_is_met(monkeypatch, tmp_path, capsys, here, status):
    order = []

    def measure(checkout, arguments):
        order.append(checkout)
        return {"a": here if checkout == compare.HERE else 1.0}

    monkeypatch.setattr(compare, "measure", measure)
    assert compare.main(Namespace(checkout=tmp_path, times=2, benchmark=["relay"])) == status
    assert order == [compare.HERE, tmp_path] * 2
    assert ("MISSED" in capsys.readouterr().out) is bool(status)


@pytest.mark.parametrize("files", [1, 2])
def test_a_measurement_reads_the_one_new_result(monkeypatch, tmp_path, files):
    folder = tmp_path / "bench" / "results"
    folder.mkdir(parents=True)
    (folder / "old.json").write_text("{}")
    ran = []

    def run(command, *, cwd, check):
        assert (command[0], cwd, check) == (tmp_path / ".venv/bin/python", tmp_path, True)
        ran.append(command[3:])
        if command[3:] == ["report"]:
            return
        for number in range(files):
            (folder / f"{number}.json").write_text(json.dumps({"rows": RELAY}))

    monkeypatch.setattr(compare.subprocess, "run", run)
    if files > 1:
        with pytest.raises(BenchError, match="wrote 2 result files instead of one"):
            compare.measure(tmp_path, ["relay"])
        return
    assert compare.measure(tmp_path, ["relay"])["headrace burst 1"] == 2.0
    assert [path.name for path in folder.iterdir()] == ["old.json"]
    assert ran == [["relay"], ["report"]]
