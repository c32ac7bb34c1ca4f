"""The comparison of two checkouts: the order of its turns, its arithmetic, and what it leaves behind."""

from __future__ import annotations

from argparse import ArgumentParser
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from bench import checkout_stack, compare
from bench.compare import PROCESSOR_TIME, Case, Spread
from bench.processes import BenchError
from infra.layout import CHECKOUT


def recorded(side: str, log: list[tuple[str, int]], values: list[float]):
    """Returns a measurement of processor time that yields `values` in turn."""
    left = iter(values)

    def measure(prompts: int) -> dict[str, float]:
        log.append((side, prompts))
        return {PROCESSOR_TIME: next(left)}

    return measure


def test_rounds_alternate_between_abba_and_baab():
    assert ["".join("AB"[side] for side, _ in compare.turns(number)) for number in range(4)] == [
        "ABBA",
        "BAAB",
        "ABBA",
        "BAAB",
    ]


def test_both_sides_measure_the_same_prompts_and_no_round_repeats_one():
    seen = []
    for number in range(6):
        here, other = ([prompts for side, prompts in compare.turns(number) if side == each] for each in (0, 1))
        assert sorted(here) == sorted(other)
        seen += here
    assert sorted(seen) == list(range(12))


def test_cases_take_turns_within_each_round():
    log: list[tuple[str, int]] = []
    cases = [
        Case(name, (recorded(f"{name} here", log, [1.0] * 4), recorded(f"{name} other", log, [1.0] * 4)))
        for name in ("x", "y")
    ]
    compare.measure_cases(cases, 2)
    assert log == [
        *(("x here", 0), ("x other", 0), ("x other", 1), ("x here", 1)),
        *(("y here", 0), ("y other", 0), ("y other", 1), ("y here", 1)),
        *(("x other", 2), ("x here", 2), ("x here", 3), ("x other", 3)),
        *(("y other", 2), ("y here", 2), ("y here", 3), ("y other", 3)),
    ]


def test_the_ratio_of_a_round_is_that_of_the_sums():
    case = Case("x", (recorded("here", [], [2.0, 4.0]), recorded("other", [], [1.0, 3.0])))
    assert compare.measure_round(case, 0) == {PROCESSOR_TIME: 1.5}


@pytest.mark.parametrize("number", [0, 1])
def test_a_steadily_growing_load_cancels_out(number):
    load = iter((1.0, 1.5, 2.0, 2.5))

    def measure(prompts: int) -> dict[str, float]:
        return {PROCESSOR_TIME: next(load)}

    assert compare.measure_round(Case("x", (measure, measure)), number) == {PROCESSOR_TIME: 1.0}


def test_rounds_are_summarised_by_the_median_of_their_ratios():
    # The third round was disturbed: neither the mean of the ratios (3.0) nor the ratio of the sums (9.4) is reported.
    here = recorded("here", [], [1.0, 1.0, 1.01, 1.01, 49.0, 49.0])
    other = recorded("other", [], [1.0, 1.0, 1.0, 1.0, 7.0, 7.0])
    found = compare.measure_cases([Case("x", (here, other))], 3)
    assert found == {"x": {PROCESSOR_TIME: Spread(1.01, (1.005, 4.005), (1.0, 7.0))}}


@pytest.mark.parametrize(
    ("ratios", "spread"),
    [
        ([1.2], Spread(1.2, (1.2, 1.2), (1.2, 1.2))),
        ([2.0, 1.0], Spread(1.5, (1.25, 1.75), (1.0, 2.0))),
        ([5.0, 1.0, 2.0, 4.0, 3.0], Spread(3.0, (2.0, 4.0), (1.0, 5.0))),
    ],
)
def test_a_spread_has_median_quartiles_and_range(ratios, spread):
    assert Spread.from_ratios(ratios) == spread


@pytest.mark.parametrize(("median", "status"), [(1.03, 0), (1.031, 1)])
def test_only_processor_time_decides_the_status(capsys, median, status):
    within = Spread(median, (1.0, 1.1), (0.9, 1.2))
    slower = Spread(9.0, (9.0, 9.0), (9.0, 9.0))
    assert compare.report({"relay": {PROCESSOR_TIME: within, compare.THROUGHPUT: slower}}) == status
    printed = capsys.readouterr().out
    assert f"{'MISSED' if status else 'met   '}  relay: processor time" in printed
    assert "quartiles 1.000 to 1.100, rounds 0.900 to 1.200" in printed


def test_the_ports_of_both_stacks_and_of_the_benchmarks_differ():
    settings = yaml.safe_load((CHECKOUT / "Pulumi.bench.yaml").read_text())
    ports = [
        port
        for by in (0, *(by for _, by in compare.SIDES))
        for port in checkout_stack.shift_ports(settings, by)["config"]["headrace:ports"].values()
    ]
    assert len(set(ports)) == len(ports)
    assert len({name for name, _ in compare.SIDES}) == 2


def test_a_port_of_0_stays_0():
    shifted = checkout_stack.shift_ports({"config": {"headrace:ports": {"api": 9780, "ray": 0}, "x": 1}}, 100)
    assert shifted == {"config": {"headrace:ports": {"api": 9880, "ray": 0}, "x": 1}}


class Verbs:
    """Records the verbs of stacks instead of running them; those in `failing` fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failing: dict[tuple[str, str], BaseException]) -> None:
        self.ran: list[tuple[str, str]] = []
        self.failing = failing
        monkeypatch.setattr(checkout_stack, "_run_verb", self.run)

    def run(self, checkout: Path, name: str, verb: str, *, capture: bool = False) -> str:
        assert (checkout / f"Pulumi.{name}.yaml").exists(), "each verb needs the configuration"
        self.ran.append((name, verb))
        if error := self.failing.get((name, verb)):
            raise error
        return f"export URL=http://{name}\nexport KEY='a key'\n" if capture else ""


HERE, OTHER = (name for name, _ in compare.SIDES)


@pytest.fixture
def checkouts(tmp_path):
    folders = tmp_path / "here", tmp_path / "other"
    for folder in folders:
        folder.mkdir()
        (folder / "Pulumi.bench.yaml").write_text((CHECKOUT / "Pulumi.bench.yaml").read_text())
    return folders


def configurations(checkouts) -> list[str]:
    return [file.name for folder in checkouts for file in folder.glob("Pulumi.compare-*.yaml")]


def test_both_stacks_run_during_the_block_and_are_purged_after_it(monkeypatch, checkouts):
    verbs = Verbs(monkeypatch, {})
    with compare.both_stacks(checkouts) as (here, other):
        assert (here.url, here.key, here.state) == (f"http://{HERE}", "a key", checkouts[0] / ".headrace" / HERE)
        assert other.state == checkouts[1] / ".headrace" / OTHER
        assert len(configurations(checkouts)) == 2
        assert verbs.ran == [(HERE, "up"), (HERE, "env"), (OTHER, "up"), (OTHER, "env")]
    assert verbs.ran[4:] == [(OTHER, "purge"), (HERE, "purge")]
    assert configurations(checkouts) == []


@pytest.mark.parametrize("error", [BenchError("up failed"), KeyboardInterrupt()], ids=["failure", "Ctrl-C"])
@pytest.mark.parametrize("verb", ["up", "env"])
@pytest.mark.parametrize("name", [HERE, OTHER])
def test_a_failed_start_leaves_no_stack_behind(monkeypatch, checkouts, name, verb, error):
    verbs = Verbs(monkeypatch, {(name, verb): error})
    with pytest.raises(type(error)), compare.both_stacks(checkouts):
        raise AssertionError("the block must not begin")
    started = [each for each, which in verbs.ran if which == "up"]
    assert [each for each, which in verbs.ran if which == "purge"] == started[::-1]
    assert configurations(checkouts) == []


def test_a_failed_purge_keeps_the_configuration_and_still_purges_the_other_stack(monkeypatch, checkouts):
    verbs = Verbs(monkeypatch, {(OTHER, "purge"): BenchError("purge failed")})
    with pytest.raises(BenchError, match="purge failed"), compare.both_stacks(checkouts):
        pass
    assert verbs.ran[-1] == (HERE, "purge")
    assert configurations(checkouts) == [f"Pulumi.{OTHER}.yaml"]


def test_a_stack_that_a_killed_run_left_is_purged_by_its_own_configuration(monkeypatch, checkouts):
    left = checkouts[0] / f"Pulumi.{HERE}.yaml"
    left.write_text("left")
    seen = []

    class Reading(Verbs):
        def run(self, checkout, name, verb, *, capture=False):
            seen.append((verb, left.read_text() == "left"))
            return super().run(checkout, name, verb, capture=capture)

    Reading(monkeypatch, {})
    with checkout_stack.running_stack(checkouts[0], HERE, 100):
        pass
    assert seen == [("purge", True), ("up", False), ("env", False), ("purge", False)]


def test_a_verb_that_fails_is_named_with_its_checkout(tmp_path):
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" in "$PWD" >said\nexit 3\n')
    python.chmod(0o755)
    with pytest.raises(BenchError, match=f"purge` in {tmp_path} failed with status 3"):
        checkout_stack._run_verb(tmp_path, HERE, "purge")
    assert (tmp_path / "said").read_text() == f"-m tools.stack --stack {HERE} purge in {tmp_path}\n"


def test_an_interrupted_verb_ends_in_order_before_the_interruption_goes_on(monkeypatch, tmp_path):
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\ntrap 'echo in order >ended; exit' INT\n: >ready\nwhile :; do sleep 0.01; done\n")
    python.chmod(0o755)
    communicate = checkout_stack.subprocess.Popen.communicate

    def interrupted(process):
        while not (tmp_path / "ready").exists():
            assert process.poll() is None
        raise KeyboardInterrupt

    monkeypatch.setattr(checkout_stack.subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkout_stack._run_verb(tmp_path, HERE, "up")
    monkeypatch.setattr(checkout_stack.subprocess.Popen, "communicate", communicate)
    assert (tmp_path / "ended").read_text() == "in order\n"


def parsed(*words: str):
    parser = ArgumentParser()
    compare.arguments(parser)
    return parser.parse_args(words)


def test_a_comparison_measures_what_is_selected(monkeypatch, tmp_path, capsys):
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    log: list[tuple[str, int]] = []

    @contextmanager
    def stacks(checkouts):
        assert checkouts == (compare.HERE, tmp_path)
        yield ["here", "other"]

    @contextmanager
    def upstream():
        yield None

    def cases(name):
        return lambda stacks, options: [
            Case(
                name, (recorded(f"{name} {stacks[0]}", log, [1.0] * 2), recorded(f"{name} {stacks[1]}", log, [2.0] * 2))
            )
        ]

    monkeypatch.setattr(compare, "both_stacks", stacks)
    monkeypatch.setattr(compare.peers, "scripted_upstream", upstream)
    monkeypatch.setattr(compare, "CASES", {name: cases(name) for name in compare.CASES})
    assert compare.main(parsed(str(tmp_path), "--only", "engine", "relay", "--rounds", "1")) == 0
    assert {side for side, _ in log} == {"engine here", "engine other", "relay here", "relay other"}
    assert "met     engine: processor time here / other 0.500" in capsys.readouterr().out


def test_a_checkout_without_an_environment_is_refused(tmp_path):
    with pytest.raises(BenchError, match=r"has no \.venv; run `make venv` there"):
        compare.main(parsed(str(tmp_path)))


@pytest.mark.parametrize("words", [("x", "--rounds", "0"), ("x", "--only", "retrieval"), ()])
def test_wrong_options_are_refused(words):
    with pytest.raises(SystemExit):
        parsed(*words)
