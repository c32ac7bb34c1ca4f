"""Where a kind of thing is added: registered in one place, it is found by all that works with such things."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal, get_args

import pytest
import yaml
from pydantic import Field

from infra import documents, network
from infra.addons import ADDONS, kuberay, monitoring
from infra.addons.addon import Addon
from infra.clouds import CloudSettings
from infra.cluster_config import Addons, Choice
from infra.config import StackConfig
from infra.nodes.machines import CLOUDS
from infra.versions import Chart
from serving.assistants.tools import catalogue
from serving.assistants.tools.mcp import McpServers
from serving.assistants.tools.tool import MadeTools, Parameters, Tool, Toolbox
from serving.config import (
    Assistant,
    Catalog,
    CatalogTool,
    HostedModel,
    LlamaCppModel,
    RayServeModel,
    Replicas,
    SecretRef,
    ServingConfig,
    Store,
    Strict,
)
from serving.config.serve_document import serve_document
from serving.config.tools import _Tool  # a kind of tool is made in that module
from serving.engines import REPLICAS, replica_class
from serving.engines.pool import Engines
from serving.engines.replica import EngineReplica
from serving.engines.router import ModelRouter
from serving.ingest import folder
from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parse import detect, parse
from serving.retrieval.parsers import FORMATS, DocumentFormat, kinds
from serving.retrieval.types import Document
from tests.callers.identity import CALLER, OWNERS
from tools import mirror
from tools.reference import project

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
BOUNDS = ChunkBounds()


def module(monkeypatch: pytest.MonkeyPatch, **members: Any) -> str:
    """Makes a module, as a new file would be one, and returns its name."""
    made = ModuleType("an_added_module")
    vars(made).update(members)
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made.__name__


def members(union: Any, field: str) -> set[str]:
    """The values by which the classes of a union are told apart."""
    return {each.model_fields[field].default for each in get_args(get_args(union)[0])}


# A document format.


def parse_subtitles(text: str, name: str, bounds: ChunkBounds) -> Document:
    builder = DocumentBuilder("subtitles", bounds)
    for line in text.splitlines():
        if line and "-->" not in line and not line.isdigit():
            builder.add(line)
    return builder.build(name)


def parse_slides(data: bytes, name: str, bounds: ChunkBounds) -> Document:
    builder = DocumentBuilder("slides", bounds)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        builder.add(archive.read("Index/Document.iwa").decode())
    return builder.build(name)


def parse_drawing(data: bytes, name: str, bounds: ChunkBounds) -> Document:
    builder = DocumentBuilder("drawing", bounds)
    builder.add(data.removeprefix(b"%DRAW").decode())
    return builder.build(name)


def zipped(entry: str, text: str = "Canal") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, text)
    return buffer.getvalue()


SUBTITLES = b"1\n00:01 --> 00:02\nWater is let in.\n\n2\n00:03 --> 00:04\nThe gate opens.\n"
SLIDES = zipped("Index/Document.iwa")
DRAWING = b"%DRAW Canal"


@pytest.fixture
def formats(monkeypatch: pytest.MonkeyPatch) -> None:
    there = module(monkeypatch, subtitles=parse_subtitles, slides=parse_slides, drawing=parse_drawing)
    monkeypatch.setitem(FORMATS, "subtitles", DocumentFormat(f"{there}:subtitles", (".srt",), (".sub",)))
    monkeypatch.setitem(FORMATS, "slides", DocumentFormat(f"{there}:slides", (".key",), part="Index/Document.iwa"))
    monkeypatch.setitem(FORMATS, "drawing", DocumentFormat(f"{there}:drawing", (".draw",), magic=(b"%DRAW",)))


ADDED = [
    (SUBTITLES, "film.srt", "subtitles", "Water is let in.\n\nThe gate opens."),
    (SUBTITLES, "film.SUB", "subtitles", "Water is let in.\n\nThe gate opens."),
    (SLIDES, "talk.key", "slides", "Canal"),
    (DRAWING, "plan.draw", "drawing", "Canal"),
]


@pytest.mark.parametrize(("data", "name"), [each[:2] for each in ADDED])
def test_unknown_formats_are_rejected(data: bytes, name: str) -> None:
    with pytest.raises(UnreadableDocument, match="cannot be read"):
        detect(data, name, BOUNDS)


@pytest.mark.usefixtures("formats")
@pytest.mark.parametrize(("data", "name", "kind", "text"), ADDED)
def test_a_document_format_is_recognised_and_read(data: bytes, name: str, kind: str, text: str) -> None:
    assert detect(data, name, BOUNDS) == kind
    document = parse(data, name)
    assert (document.kind, document.text.strip()) == (kind, text)


@pytest.mark.usefixtures("formats")
@pytest.mark.parametrize(
    ("data", "name", "content"),
    [
        (SLIDES, "report.docx", "slides"),
        (zipped("word/document.xml"), "talk.key", "docx"),
        (zipped("a.txt"), "talk.key", "a zip archive"),
        (DRAWING, "notes.txt", "drawing"),
        (b"Canal", "plan.draw", "something else"),
        (b"<!doctype html><p>Canal", "film.srt", "html"),
    ],
)
def test_mislabelled_documents_are_rejected(data: bytes, name: str, content: str) -> None:
    with pytest.raises(UnreadableDocument, match=f"but the content is {content}$"):
        detect(data, name, BOUNDS)


@pytest.mark.usefixtures("formats")
def test_a_document_format_is_among_those_that_are_offered() -> None:
    assert [*kinds()][-4:] == [".srt", ".sub", ".key", ".draw"]


@pytest.mark.usefixtures("formats")
def test_new_document_formats_are_found_in_folders(tmp_path: Path) -> None:
    for name in ("a.md", "b.srt", "c.sub", "d.key", "e.exe"):
        (tmp_path / name).write_text(name)
    said: list[str] = []
    assert list(folder.documents(tmp_path, every_kind=False, say=said.append)) == ["a.md", "b.srt", "d.key"]
    assert said == ["skipped, empty or of an unsupported kind: c.sub, e.exe"]
    assert list(documents.documents(tmp_path, ["."])) == ["a.md", "b.srt", "d.key"]


def test_an_extension_is_of_one_format() -> None:
    extensions = [e for each in FORMATS.values() for e in (*each.extensions, *each.further_extensions)]
    assert len(extensions) == len(kinds())


# A kind of tool.


class DiceTool(_Tool):
    kind: Literal["dice"] = "dice"
    sides: int = 6
    server: str = "https://dice.example.com:8443/v1"

    @property
    def urls(self) -> tuple[str, ...]:
        return (self.server,)

    def of_tenant(self, tenant: str) -> DiceTool | None:
        return self if tenant != "poor" else None


class OracleTool(DiceTool):
    told_by_others: ClassVar[bool] = True

    kind: Literal["oracle"] = "oracle"


class Throw(Parameters):
    times: int = 1


DICE = DiceTool(name="dice", description="Throws a die.", sides=8)
ORACLE = OracleTool(name="oracle", description="Knows.")
SMALL = LlamaCppModel(name="small", source="file:///small.gguf")
PLAYER = Assistant(name="player", model="small", tools=("dice", "oracle", "time"))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Registers kinds of tools, and lists of which tools one was made; what the oracle says is not kept."""
    found: list[str] = []

    async def make(settings: DiceTool, servers: McpServers) -> MadeTools:
        async def call(given: Throw) -> str:
            return f"{given.times} of {settings.sides}"

        found.append(settings.name)
        tool = Tool(settings.name, settings.description, Throw, call)
        return MadeTools([tool]) if settings.kind == "dice" else MadeTools([tool], keep_s=0)

    monkeypatch.setitem(catalogue.MAKERS, "dice", make)
    monkeypatch.setitem(catalogue.MAKERS, "oracle", make)
    return found


async def test_a_new_kind_of_tool_can_be_called(made: list[str]) -> None:
    tools = catalogue.CatalogTools(McpServers(), [DICE, ORACLE])
    toolbox = Toolbox(await tools.get(["dice", "oracle", "time"], "acme"), 9, 5)
    assert list(toolbox.tools) == ["dice", "oracle"]
    assert await toolbox.call("dice", '{"times": 3}') == "3 of 8"
    await tools.get(["dice", "oracle"], "acme")
    assert made == ["dice", "oracle", "oracle"]
    assert await tools.get(["dice"], "poor") == []
    assert (tools.told_by_others(["dice", "time"]), tools.told_by_others(["dice", "oracle"])) == (False, True)


def test_a_new_kind_of_tool_respects_access() -> None:
    catalog = Catalog(models=(SMALL,)).model_copy(update={"assistants": (PLAYER,), "tools": (DICE, ORACLE)})
    route = ModelRouter(catalog).resolve("player", CALLER)
    assert route is not None
    assert route.tools == ("dice", "oracle", "time")
    other = ModelRouter(catalog).resolve("player", replace(CALLER, tenant="poor"))
    assert other is not None
    assert other.tools == ("time",)


def test_pods_may_reach_a_new_tools_hosts() -> None:
    config = StackConfig(target="kubeconfig").model_copy(update={"tools": (DICE,)})
    [rule] = network.policy_values(config, kuberay.KUBERAY, monitoring.MONITORING)["models"]
    assert rule == {"to": [network.ANYWHERE], "ports": [{"protocol": "TCP", "port": 8443}]}


def test_every_kind_of_tool_is_registered() -> None:
    assert members(CatalogTool, "kind") == set(catalogue.MAKERS)


# An engine.


class EchoModel(RayServeModel):
    text_only: ClassVar[bool] = True
    cache_owner: ClassVar[Literal["slot", "salt"]] = "salt"

    engine: Literal["echo"] = "echo"
    name: str
    replicas: int = 2
    cpus: float = 3

    @property
    def concurrency(self) -> int:
        return 7

    @property
    def request_context(self) -> int:
        return 99

    @property
    def gpus(self) -> int:
        return 4

    @property
    def downloads(self) -> bool:
        return True


class EchoCatalog(Catalog):
    models: tuple[EchoModel, ...] = ()


class EchoReplica:
    def __init__(self, config: EchoModel) -> None:
        self._config = config

    async def lease(self, owner: str, user: str) -> Any:
        yield {"url": f"http://{self._config.name}/v1", "key": owner}


ECHO = EchoModel(name="parrot")
WITH_ECHO = EchoCatalog(models=(ECHO,))
SERVING = ServingConfig(
    store=Store(database="sqlite:////none", data="/none"),
    key_secret=SecretRef(ref="env:NONE"),
    gateway=Replicas(replicas=1, cpus=1),
    retrieval=Replicas(replicas=1, cpus=1),
)


def test_an_engine_is_an_application_of_serves() -> None:
    document = serve_document(SERVING, WITH_ECHO, host="127.0.0.1", port=8000)
    [_, application] = document["applications"]
    assert application["args"]["model"] == {
        "engine": "echo",
        "task": "chat",
        "name": "parrot",
        "replicas": 2,
        "cpus": 3,
    }
    [deployment] = application["deployments"]
    assert (deployment["num_replicas"], deployment["max_ongoing_requests"], deployment["max_surge_percent"]) == (
        2,
        14,
        100,
    )
    assert deployment["ray_actor_options"] == {"num_cpus": 3, "num_gpus": 4}


async def test_an_engine_runs_in_a_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REPLICAS, "echo", f"{module(monkeypatch, Echo=EchoReplica)}:Echo")
    from serving import app  # Ray Serve takes a second to import

    monkeypatch.setattr(app, "_keep_log", lambda: None)  # it asks Serve for the replica's name
    granted = [each async for each in app.Model(ECHO).lease("acme", "ann")]
    assert granted == [{"url": "http://parrot/v1", "key": "acme"}]


async def test_a_gateway_leases_from_an_engine() -> None:
    class Handle:
        def __init__(self) -> None:
            self.lease = self

        def options(self, *, stream: bool) -> Handle:
            return self

        def remote(self, owner: str, user: str) -> Handle:
            return self

        async def __anext__(self) -> Mapping[str, str]:
            return {"url": "http://parrot/v1", "key": "k"}

        def cancel(self) -> None:
            pass

    engines = Engines(lambda name: {"model-parrot": Handle()}[name], 1, OWNERS)
    engines.configure(WITH_ECHO)
    async with engines.endpoint("parrot", CALLER) as endpoint:
        assert (endpoint.url, endpoint.model, endpoint.context) == ("http://parrot/v1", "parrot", 99)
        assert (endpoint.text_only, endpoint.tokenizer) == (True, None)
        assert list(endpoint.beside) == ["cache_salt"]


def test_pods_of_an_engine_may_fetch_its_weights() -> None:
    config = StackConfig(target="kubeconfig").model_copy(update={"models": (ECHO,)})
    [rule] = network.policy_values(config, kuberay.KUBERAY, monitoring.MONITORING)["models"]
    assert rule == {"to": [network.ANYWHERE], "ports": [{"protocol": "TCP", "port": 443}]}


def test_every_engine_that_serve_runs_is_registered() -> None:
    assert members(HostedModel, "engine") == set(REPLICAS)
    assert all(issubclass(replica_class(engine), EngineReplica) for engine in REPLICAS)


# A platform add-on; how one is installed, and a cloud, are in tests/unit/plan.


class MoreAddons(Addons):
    tides: Choice = "auto"


TIDES = Addon(
    name="tides",
    namespace="tides",
    needed=lambda config: bool(config.pools),
    chart=lambda _: Chart("tides", "1.2.3", "repo", "https://charts.example.com", {"main": "ghcr.io/tides/tides:1"}),
    values=lambda config, images: {"image": images["main"]},
    kinds=("tides.example.com",),
)


def test_a_mirror_contains_the_images_of_an_addon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "ADDONS", (*ADDONS, TIDES))
    config = StackConfig(target="kubeconfig").model_copy(update={"addons": MoreAddons()})
    added = set(mirror.items(config)) - {("image", mirror.chart.image_reference(config.image), "")}
    assert {("image", "ghcr.io/tides/tides:1", ""), ("chart", "https://charts.example.com tides 1.2.3", "")} <= added
    off = config.model_copy(update={"addons": MoreAddons(tides="off")})
    assert not [item for item in mirror.items(off) if "tides" in item[1]]


def test_every_addon_has_a_setting() -> None:
    assert {addon.name for addon in ADDONS} == Addons.model_fields.keys() - {"gpu_driver"}


# A setting.


def test_a_new_setting_is_declared_in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tide(Strict):
        height: int = 1
        moon: str = "full"

    class WithTide(StackConfig):
        tide: Tide = Field(default=Tide(height=3), description="How high the water stands.")

    text = (ROOT / "Pulumi.yaml").read_text()
    monkeypatch.setattr(project, "StackConfig", WithTide)
    declared = yaml.safe_load(project.project(text))["config"]
    added = {"type": "object", "default": {"height": 3}, "description": "How high the water stands."}
    assert declared == yaml.safe_load(text)["config"] | {"headrace:tide": added}


# A cloud; how one is planned is in tests/unit/plan.


def test_every_cloud_has_its_folder_and_its_rules() -> None:
    assert {path.parent.name for path in ROOT.glob("infra/targets/*/__init__.py")} == set(CLOUDS)
    assert CloudSettings.model_fields.keys() == set(CLOUDS)
    for cloud, field in CloudSettings.model_fields.items():
        assert field.annotation.__module__ == f"infra.targets.{cloud}.settings"
    assert {path.parent.name for path in ROOT.glob("infra/targets/*/limits.py")} == set(CLOUDS)


NIMBUS = {
    "__init__.py": """SDK = "nimbus_sdk"\n""",
    "settings.py": """
from serving.config import Strict
class Nimbus(Strict):
    height: int = 0
""",
    "machines.py": """
from infra.nodes.machines import MachineType
MACHINES = (MachineType("nimbus", "gust", 8, 32, "l4", 1), MachineType("nimbus", "breeze", 4, 16))
DEFAULT = "breeze"
""",
    "prices.yaml": """
as_of: 2026-01-01
currency: USD
source: nobody sells it
prices:
  - {cloud: nimbus, machine: gust, on_demand: 2.5}
  - {cloud: nimbus, machine: breeze, on_demand: 0.25}
""",
    "limits.py": """
from infra.mistakes import Mistake
from infra.nodes.resources import GIB, Resources
NODE_PODS = Resources(cpu=1000)
def mistakes(settings, cluster, pools):
    return [] if settings.height else [Mistake("nimbus.height", "is missing", "rise")]
def advertises(settings, pool):
    return True
def allocatable(machine, disk_gib):
    return Resources(machine.vcpus * 1000, machine.memory_gib * GIB, disk_gib * GIB, pods=110)
def system_pods(settings):
    return ()
""",
}
"""The folder of a fourth cloud, as far as a plan needs it: `provision` is in tests/unit/plan."""

REGISTERED = (
    ("nodes/machines.py", 'Cloud = Literal["aws", "gcp", "azure"]', 'Cloud = Literal["aws", "gcp", "azure", "nimbus"]'),
    ("clouds.py", "from serving.config", "from infra.targets.nimbus.settings import Nimbus\nfrom serving.config"),
    ("clouds.py", "    azure: Azure =", "    nimbus: Nimbus = Nimbus()\n    azure: Azure ="),
)
"""Where it is registered: its name, and its field with the import."""

PLANNED = """
import json, sys
from infra.config_loader import load
from infra.gpu import cost
from infra.targets.operations import holdings
loaded = load(json.loads(sys.argv[1]), frozenset(), "/secrets")
print(*loaded.mistakes, sep="\\n")
print(cost.table(loaded.config))
assert holdings()
"""


def test_a_fourth_cloud_is_one_folder_and_its_registration(tmp_path: Path) -> None:
    """No other file of the product has to change before its nodes are checked, counted and priced."""
    shutil.copytree(ROOT / "infra", tmp_path / "infra", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "charts").symlink_to(ROOT / "charts")
    folder = tmp_path / "infra" / "targets" / "nimbus"
    folder.mkdir()
    for name, text in NIMBUS.items():
        (folder / name).write_text(text)
    for name, old, new in REGISTERED:
        text = (tmp_path / "infra" / name).read_text()
        assert text.count(old) == 1, name
        (tmp_path / "infra" / name).write_text(text.replace(old, new))

    def said(cpus: float = 2, **settings: Any) -> str:
        pools = [{"name": "wet", "accelerator": "l4", "gpus": 1}, {"name": "dry", "max_nodes": 3}]
        stack = {"target": "nimbus", "image": {"tag": "1"}, "node_pools": pools, **settings}
        stack["pools"] = [{"name": "serving", "node_pool": "wet", "gpus": 1, "cpus": cpus}]
        stack["cluster"] = {"endpoint": "private"}
        command = [sys.executable, "-c", PLANNED, json.dumps(stack)]
        paths = os.pathsep.join((str(tmp_path), str(ROOT)))
        return subprocess.check_output(command, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths})

    priced = said(nimbus={"height": 3})
    assert "headrace:" not in priced, "there is no mistake"
    assert "Total: 2.75-3.25 USD per hour" in priced
    assert "list prices as of 2026-01-01" in priced
    assert "headrace:nimbus.height: is missing; rise" in said()
    assert "worker 1 of pool 'serving'" in said(7.5, nimbus={"height": 3}), "its nodes have a CPU less for pods"


# What the page says.


def rows() -> list[list[str]]:
    section = PAGE.read_text().split("## Where to change what\n")[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_the_page_names_existing_files_and_symbols() -> None:
    found = rows()
    assert len(found) >= 15
    for _, new, *existing in found:
        for path in re.findall(r"`([\w./-]*<[\w-]+>[\w./]*)`", new):
            assert (ROOT / path.partition("<")[0]).parent.is_dir() or (ROOT / path.partition("<")[0]).is_dir(), path
        for cell in existing:
            paths = re.findall(r"`([\w.-]+/[\w./-]+|[\w-]+\.(?:toml|yaml)|Makefile)`", cell)
            assert all((ROOT / path).exists() for path in paths), paths
            for name, path in re.findall(r"`(\w+)` (?:in|of) `([\w./-]+)`", cell):
                assert re.search(rf"\b{name}\b", (ROOT / path).read_text()), (name, path)


def test_a_change_touches_few_files() -> None:
    files = {thing: set(re.findall(r"`([\w.-]+/[\w./<>-]*)`", " ".join(cells))) for thing, *cells in rows()}
    assert {thing: len(found) for thing, found in files.items() if not 1 <= len(found) <= 5} == {}


def test_the_page_names_every_module_that_answers_429_for_load() -> None:
    named = set(re.findall(r"`(serving/[\w./]+)`", " ".join(cell for row in rows() for cell in row)))
    modules = [
        path
        for path in (ROOT / "serving").rglob("*.py")
        if re.search(r"(raise|return) (too_many|busy)\(", path.read_text())
    ]
    assert {str(path.relative_to(ROOT)) for path in modules} <= named
