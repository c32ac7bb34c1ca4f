"""How a replica follows the live set of its model: what it copies, loads, refuses, unloads and reports."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from serving.config import AdapterBounds
from serving.engines.adapters import follower as module
from serving.engines.adapters.errors import AdapterRejected, StartFailed
from serving.engines.adapters.follower import Follower
from serving.engines.adapters.local_files import LocalFiles
from serving.store.errors import StoreUnavailable
from serving.store.objects import live_adapters
from serving.store.objects.live_adapters import AdapterFile, LiveAdapter, LiveSet, LiveSets, Report
from serving.store.objects.places import Folder


class Engine:
    """Serves what it is given, except adapters that it rejects."""

    def __init__(self) -> None:
        self.served: list[list[str]] = []
        self.rejects: dict[str, str] = {}
        self.fails = False
        self.contents: dict[str, bytes] = {}

    def serve(self, adapters: Mapping[str, Path]) -> None:
        self.served.append(list(adapters))
        if self.fails:
            raise StartFailed("out of memory")
        for name, folder in adapters.items():
            if name in self.rejects:
                raise AdapterRejected(name, self.rejects[name])
            self.contents[name] = (folder / "adapter.gguf").read_bytes()


class Hub:
    """A place with versions, and the live set of the model `base`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sets = LiveSets(Folder(folder))

    def version(self, name: str, content: bytes = b"weights", *, rank: int = 8) -> LiveAdapter:
        folder = self.folder / f"mver_{name}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "adapter.gguf").write_bytes(content)
        artefact = AdapterFile("adapter.gguf", len(content), hashlib.sha256(content).hexdigest())
        return LiveAdapter(name, f"mver_{name}", (artefact,), rank, ("t",))

    def publish(self, *adapters: LiveAdapter) -> None:
        self.sets.write("base", LiveSet(self.sets.read("base").revision + 1, adapters))

    def report(self) -> Report:
        [report] = self.sets.reports("base")
        return report


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path / "hub")


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def follower(hub: Hub, engine: Engine, tmp_path: Path) -> Follower:
    return following(hub, engine, tmp_path)


def following(hub: Hub, engine: Engine, folder: Path, needed: Sequence[str] = ("adapter.gguf",)) -> Follower:
    return Follower("base", AdapterBounds(max=3, rank=16), hub.sets, needed, engine.serve, parent=folder)


def missing(name: str) -> float | None:
    return REGISTRY.get_sample_value("headrace_adapter_missing", {"model": "base", "adapter": name})


def test_a_live_set_is_what_was_written(hub: Hub) -> None:
    assert hub.sets.read("base") == LiveSet()
    adapter = hub.version("a")
    hub.publish(adapter)
    assert hub.sets.read("base") == LiveSet(1, (adapter,))
    (hub.folder / "live/base.json").write_text('{"revision": "many"}')
    with pytest.raises(StoreUnavailable, match=r"live/base\.json is damaged"):
        hub.sets.read("base")


def test_changes_are_loaded_once_and_reported(hub: Hub, engine: Engine, follower: Follower) -> None:
    follower.step()
    assert engine.served == []
    hub.publish(hub.version("a", b"one"), hub.version("b", b"two"))
    follower.step()
    follower.step()
    assert engine.served == [["a", "b"]]
    assert engine.contents == {"a": b"one", "b": b"two"}
    assert (hub.report().loaded, hub.report().revision, hub.report().failed) == (("a", "b"), 1, {})
    hub.publish(hub.version("b", b"two"), hub.version("c", b"three"))
    follower.step(leaving={"b", "old"}, change=False)
    assert (hub.report().revision, hub.report().loaded) == (2, ("a", "b")), "it says what it still serves"
    assert hub.report().leaving == ("old",)
    assert [(folder / "adapter.gguf").exists() for folder in follower.loaded.values()] == [True, True], "to start again"
    follower.step()
    assert engine.served[1:] == [["b", "c"]]
    assert [missing(name) for name in "abc"] == [0, 0, 0]
    assert sorted(path.name for path in follower._files.folder.iterdir()) == ["b", "c"], "a retired one is deleted"
    hub.publish()
    follower.step()
    assert engine.served[2:] == [[]]
    folder = follower._files.folder
    follower.close()
    assert not folder.exists()
    assert hub.sets.reports("base") == []


def test_an_adapter_that_is_rejected_does_not_keep_others_away(hub: Hub, engine: Engine, follower: Follower) -> None:
    engine.rejects = {"b": "NaN"}
    hub.publish(hub.version("a"), hub.version("b"), hub.version("high", rank=32))
    follower.step()
    follower.step()
    assert engine.served == [["a", "b"], ["a"]], "it is not tried again"
    assert hub.report().loaded == ("a",)
    assert hub.report().failed == {"b": "NaN", "high": "its rank 32 is above 16 (adapters.rank)"}
    assert [missing(name) for name in ("a", "b", "high")] == [0, 1, 1]
    hub.publish(hub.version("a"))
    follower.step()
    assert [missing(name) for name in ("a", "b", "high")] == [0, 0, 0]
    assert hub.report().failed == {}


def test_the_number_of_adapters_is_bounded(hub: Hub, engine: Engine, follower: Follower) -> None:
    hub.publish(*(hub.version(name) for name in "abcd"))
    follower.step()
    assert hub.report().loaded == ("a", "b", "c")
    assert hub.report().failed == {"d": "a replica serves at most 3 adapters (adapters.max)"}


def test_files_that_differ_from_their_version_are_refused_and_tried_again(
    hub: Hub, engine: Engine, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, gone, bare = hub.version("changed"), hub.version("gone"), LiveAdapter("bare", "mver_b", (), 8, ("t",))
    hub.publish(changed, gone, bare)
    file = hub.folder / changed.version / "adapter.gguf"
    file.write_bytes(b"other")
    (hub.folder / gone.version / "adapter.gguf").unlink()
    follower.step()
    assert hub.report().failed == {
        "changed": "adapter.gguf has another SHA-256 than its version says",
        "gone": "adapter.gguf of version mver_gone is missing",
        "bare": "version mver_b has no adapter.gguf",
    }
    assert engine.served == []
    assert list(follower._files.folder.iterdir()) == [], "half a copy is left"
    file.write_bytes(b"weights")
    follower.step()
    assert engine.served == [], "it is too early"
    monkeypatch.setattr(follower, "_failures", {})
    follower.step()
    assert engine.served == [["changed"]]


def test_an_engine_that_cannot_start_is_asked_again_later(hub: Hub, engine: Engine, follower: Follower) -> None:
    engine.fails = True
    hub.publish(hub.version("a"))
    follower.step()
    follower.step()
    assert engine.served == [["a"]]
    assert missing("a") == 1
    engine.fails = False
    follower._again = 0
    follower.step()
    assert hub.report().loaded == ("a",)


def test_a_store_that_fails_takes_no_adapter_away(
    hub: Hub, engine: Engine, follower: Follower, caplog: pytest.LogCaptureFixture
) -> None:
    hub.publish(hub.version("a"))
    follower.step()
    (hub.folder / "live/base.json").write_text("{")
    for _ in range(3):
        follower.step()
    assert engine.served == [["a"]]
    assert [r.getMessage() for r in caplog.records if r.name == "headrace.engines"] == [
        "the adapters of base cannot be read: live/base.json is damaged: Invalid JSON: EOF while parsing an object at "
        "line 1 column 1"
    ]


def test_reports_of_dead_replicas_do_not_count(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    at = 1_000_000.0
    monkeypatch.setattr(live_adapters, "now", lambda: at)
    for replica, age in (("new", 1.0), ("old", live_adapters.STALE_S + 1)):
        hub.sets.report("base", Report(replica, 1, at=at - age))
    assert [report.replica for report in hub.sets.reports("base")] == ["new"]
    monkeypatch.setattr(live_adapters, "now", lambda: at * 10_000)
    assert hub.sets.reports("base") == []
    assert list((hub.folder / "live/base").iterdir()) == []


def test_reports_are_renewed_while_an_engine_starts(
    hub: Hub, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = [1_000_000.0]
    monkeypatch.setattr(module, "now", lambda: at[0])
    monkeypatch.setattr(live_adapters, "now", lambda: at[0])
    follower.renew()
    assert hub.sets.reports("base") == [], "it has never said what it serves"
    follower.step()
    for look in (follower.step, follower.renew) * 4:
        at[0] += 6
        look()
        assert at[0] - hub.report().at < live_adapters.REPORT_S
    follower.close()
    at[0] += 20
    follower.renew()
    assert hub.sets.reports("base") == []


def test_copies_of_killed_replicas_are_removed(hub: Hub, tmp_path: Path) -> None:
    adapter = hub.version("a")
    alive = LocalFiles(hub.sets, ("adapter.gguf",), tmp_path)
    killed = LocalFiles(hub.sets, ("adapter.gguf",), tmp_path)
    kept, left = alive.fetch(adapter), killed.fetch(adapter)
    os.close(killed._lock)  # as the kernel does
    other = LocalFiles(hub.sets, ("adapter.gguf",), tmp_path)
    assert kept.exists()
    assert not left.exists()
    for files in (alive, other):
        files.close()
    assert [path.name for path in tmp_path.iterdir()] == ["hub"]
