"""Counters and histograms are exposed as `prometheus-client` itself would, whatever happens to the files."""

from __future__ import annotations

import random

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from serving.telemetry.sums import Sums

ODD = ["", "plain", 'a "quote"', "back\\slash", "two\nlines", "ünï 🌊", "a,b=c}", " ", "\x00"]


def write(path, counts, what="What"):
    """Adds to what a file has, by name and the values of labels: to counters, or observes so often in a histogram."""
    file = MmapedDict(str(path))

    def add(sample, named, labels, count):
        key = mmap_key(name, sample, list(named), list(labels), f"{what} {name} counts,\nin \\ two lines.")
        file.write_value(key, file.read_value(key)[0] + count, 0.0)

    for (name, *labels), count in counts.items():
        named = [f"label_{i}" for i in range(len(labels))]
        if path.name.startswith("counter_"):
            add(f"{name}_total", named, labels, count)
            continue
        add(f"{name}_sum", named, labels, count / 3)
        for bound in ("0.5", "2.0", "10.0", "+Inf"):  # all are made; one is observed
            add(f"{name}_bucket", [*named, "le"], [*labels, bound], count if bound == "2.0" else 0)
    file.close()


def samples(text):
    return {
        (
            family.name,
            family.type,
            sample.name,
            tuple(sorted(sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def expected(folder):
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    return samples(generate_latest(registry).decode())


@pytest.mark.parametrize("seed", range(10))
def test_sums_match_the_library_while_files_change(tmp_path, seed):
    chance, sums = random.Random(seed), Sums()
    keys = [("a", one, two) for one in ODD for two in ODD] + [("b", one) for one in ODD] + [("c",)]
    for _ in range(12):
        kind = chance.choice(("counter", "histogram"))
        path = tmp_path / f"{kind}_{chance.randrange(3)}.db"
        if chance.random() < 0.3:
            path.unlink(missing_ok=True)
        chosen = chance.sample(keys, chance.randrange(1, 30))
        what = chance.choice(("What", "In another release, what"))
        write(path, {(f"{kind}_{name}", *of): chance.choice([1, 0.1, 10**9, 1e22, 3.5]) for name, *of in chosen}, what)
        text = sums.render(sorted(tmp_path.glob("*.db")))
        lines = [line.rpartition(" ")[0] for line in text.splitlines()]
        assert len(set(lines)) == len(lines), "a sample or a head is there twice"
        said = samples(text)
        assert said == pytest.approx(expected(tmp_path))


def test_replaced_files_are_read_again(tmp_path):
    sums, path = Sums(), tmp_path / "counter_1.db"
    write(path, {("a", "x"): 1})
    assert 'a_total{label_0="x"} 1.0' in sums.render([path])
    write(tmp_path / "counter_staged", {("a", "y"): 2})  # as long as the other
    (tmp_path / "counter_staged").rename(path)
    assert 'label_0="x"' not in (text := sums.render([path]))
    assert 'a_total{label_0="y"} 2.0' in text
    path.unlink()
    assert sums.render([]) == ""
    write(path, {("a", "x"): 5})
    assert 'a_total{label_0="x"} 5.0' in sums.render([path])


def test_files_without_values_are_ignored(tmp_path):
    (tmp_path / "counter_1.db").touch()
    MmapedDict(str(tmp_path / "counter_2.db")).close()
    sums, files = Sums(), sorted(tmp_path.iterdir())
    assert sums.render(files) == ""
    write(tmp_path / "counter_1.db", {("a", "x"): 1})
    assert 'a_total{label_0="x"} 1.0' in sums.render(files)
