"""Traces: real requests, and a real OTLP receiver that reads protobuf."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from pydantic import ValidationError

from serving.config import Assistant, Catalog, React, RemoteModel, Tracing
from serving.telemetry.otlp import _Allowance
from tests.contract.inference.test_tools import FINAL, Model, Retrieval, act
from tests.contract.running import Loop, engine, gateway, request_lines
from tests.wait import eventually

SECRET = "what nobody else may read"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class World(Model):
    """The model, which notes its callers' traces, and the receiver of spans."""

    def __init__(self):
        super().__init__()
        self.spans, self.services, self.traceparents, self.tracestates = [], set(), [], []

    def app(self):
        app = super().app()
        app.router.add_post("/v1/traces", self.take)
        return app

    async def chat(self, request):
        self.traceparents.append(request.headers.get("traceparent"))
        self.tracestates.append(request.headers.get("tracestate"))
        body = await request.json()
        if not body.get("stream"):
            return await super().chat(request)
        frames = [{"index": 0, "delta": {"content": "hi"}}, {"index": 0, "delta": {}, "finish_reason": "stop"}]
        lines = [{"choices": [f]} for f in frames]
        lines.append({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
        text = "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"
        return web.Response(text=text, content_type="text/event-stream")

    async def take(self, request):
        assert request.content_type == "application/x-protobuf"
        for resource in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return web.Response(body=b"", content_type="application/x-protobuf")

    def named(self, name):
        return next(span for span in self.spans if span.name == name)

    @property
    def root(self):
        return next(span for span in self.spans if span.kind == Span.SPAN_KIND_SERVER)


@contextmanager
def asking(folder, world, **tracing):
    """Yields a client of a gateway whose spans have all been sent, or lost, once it has ended."""
    with Loop() as loop, engine(loop, world.app()) as port:
        url = f"http://127.0.0.1:{port}/v1"
        catalog = Catalog(
            models=(RemoteModel(name="clever", url=url), RemoteModel(name="gone", url="http://127.0.0.1:9/v1")),
            assistants=(
                Assistant(
                    name="clerk", model="clever", strategy=React(kind="react", tool_seconds=60), tools=("calculator",)
                ),
                Assistant(name="reader", model="clever", knowledge=("sea",)),
            ),
        )
        settings = Tracing(**{"endpoint": f"{url}/traces"} | tracing)
        with gateway(loop, folder, catalog, retrieval=Retrieval(), tracing=settings) as up, up.client("/v1") as http:
            yield http


def ask(http, model="clever", headers=None, **more):
    body = {"model": model, "messages": [{"role": "user", "content": SECRET}], **more}
    return http.post("/chat/completions", json=body, headers=headers or {})


def attributes(span):
    found = {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}
    return {
        key: [v.string_value for v in value.values] if hasattr(value, "values") else value
        for key, value in found.items()
    }


def test_a_request_is_a_trace_with_its_stages_and_its_engine(tmp_path):
    world = World()
    with asking(tmp_path, world) as http:
        assert ask(
            http, stream=True, temperature=0.5, headers={"x-request-id": "req-1", "traceparent": PARENT}
        ).is_success
    root, call = world.root, world.named("chat clever")
    assert world.services == {"headrace-gateway"}
    assert {span.trace_id.hex() for span in world.spans} == {PARENT.split("-")[1]}
    assert (root.name, root.parent_span_id.hex()) == ("POST /v1/chat/completions", PARENT.split("-")[2])
    assert {k: v for k, v in attributes(root).items() if k != "headrace.key_id"} == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "headrace.request_id": "req-1",
        "headrace.tenant": "default",
        "gen_ai.request.model": "clever",
    }
    assert (call.kind, call.parent_span_id) == (Span.SPAN_KIND_CLIENT, root.span_id)
    assert attributes(call) | {"url.full": ""} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "clever",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.stream": True,
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.response.finish_reasons": ["stop"],
        "url.full": "",
    }
    assert world.traceparents == [f"00-{root.trace_id.hex()}-{call.span_id.hex()}-01"]
    stages = [s for s in world.spans if s.name in ("identify", "receive", "first_token", "decode", "store")]
    assert len(stages) == 5
    for span in (*stages, call):
        assert span.parent_span_id == root.span_id
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano
    assert SECRET.encode() not in b"".join(s.SerializeToString() for s in world.spans)


@pytest.mark.parametrize("content", [False, True])
def test_spans_contain_content_only_if_configured(tmp_path, content):
    world = World()
    world.says = [act("calculator", expression="40+2"), act("calculator", expression="1/0"), FINAL, "hi"]
    with asking(tmp_path, world, content=content) as http:
        assert ask(http, "clerk").is_success
        assert ask(http, "reader").is_success
    tool, wrong = (span for span in world.spans if span.name == "execute_tool calculator")
    found = world.named("retrieval")
    assert attributes(tool)["gen_ai.tool.name"] == "calculator"
    assert (wrong.status.code, attributes(wrong)["error.type"]) == (Status.STATUS_CODE_ERROR, "ToolError")
    assert attributes(found)["headrace.retrieval.chunks"] == 1
    agent, steps = world.named("invoke_agent clerk"), [s for s in world.spans if s.name.startswith("step ")]
    assert [attributes(s)["headrace.step.kind"] for s in steps] == ["thought", "action", "observation"] * 2
    assert {
        name: attributes(agent)[f"gen_ai.{name}"] for name in ("operation.name", "agent.name", "request.model")
    } == {
        "operation.name": "invoke_agent",
        "agent.name": "clerk",
        "request.model": "clever",
    }
    asked = [s for s in world.spans if s.name == "chat clever" and s.parent_span_id == agent.span_id]
    assert len(asked) == 3
    for of in ("input", "output"):
        used = f"gen_ai.usage.{of}_tokens"
        assert attributes(agent)[used] == sum(attributes(one)[used] for one in asked) > 0
    assert {s.parent_span_id for s in (*steps, tool, wrong)} == {agent.span_id}
    assert agent.start_time_unix_nano <= min(s.start_time_unix_nano for s in steps)
    told = b"".join(s.SerializeToString() for s in world.spans)
    for text in (SECRET, "40+2", FINAL):
        assert (text.encode() in told) is content
    if content:
        assert attributes(tool)["gen_ai.tool.call.result"] == "42"
        assert SECRET in attributes(world.named("chat clever"))["gen_ai.input.messages"]


def test_failed_spans_record_the_error(tmp_path):
    world = World()
    with asking(tmp_path, world) as http:
        assert ask(http, "gone").status_code == 502
        assert ask(http, "none").status_code == 404
    gone, none = [s for s in world.spans if s.kind == Span.SPAN_KIND_SERVER]
    assert (gone.status.code, attributes(gone)["error.type"]) == (Status.STATUS_CODE_ERROR, "engine_error")
    assert (none.status.code, attributes(none)["http.response.status_code"]) == (Status.STATUS_CODE_UNSET, 404)
    assert attributes(world.named("chat gone"))["error.type"] == "engine_error"


def test_a_line_of_the_log_names_the_trace(tmp_path, caplog):
    world = World()
    world.says = [FINAL]
    with (
        asking(tmp_path, world) as http,
        caplog.at_level(logging.INFO, "headrace.api"),
        caplog.at_level(logging.INFO, "headrace.requests"),
    ):
        assert ask(http, "clerk", headers={"traceparent": PARENT}).is_success
        ours = ("headrace.api", "headrace.requests")
        eventually(lambda: len({each.name for each in caplog.records} & {*ours}) == 2, "both lines")
    told = [getattr(each, "fields", None) or vars(each) for each in caplog.records if each.name in ours]
    assert [line.get("trace_id") for line in told] == [PARENT.split("-")[1]] * 2


def test_only_a_share_of_the_traces_is_sent_and_a_caller_decides_about_its_own(tmp_path):
    world = World()
    world.says = ["hi"] * 3
    with asking(tmp_path, world, ratio=0) as http:
        assert ask(http).is_success
        assert ask(http, headers={"traceparent": PARENT}).is_success
        assert ask(http, headers={"traceparent": "00-nonsense"}).is_success
    assert {span.trace_id.hex() for span in world.spans} == {PARENT.split("-")[1]}
    assert [int(t.split("-")[3], 16) & 1 for t in world.traceparents] == [0, 1, 0]


@pytest.mark.parametrize("kept", ["00", "01"])
def test_tracestate_is_propagated(tmp_path, kept):
    world = World()
    world.says = ["hi"]
    headers = {"traceparent": f"{PARENT[:-2]}{kept}", "tracestate": "theirs=1"}
    with asking(tmp_path, world) as http:
        assert ask(http, headers=headers).is_success
    assert world.tracestates == ["theirs=1"]
    assert [t.split("-")[1::2] for t in world.traceparents] == [[PARENT.split("-")[1], kept]]


def test_traces_are_rate_limited(tmp_path, caplog):
    world = World()
    world.says = ["hi"] * 4
    with asking(tmp_path, world, per_second=0.0001) as http, caplog.at_level(logging.INFO, "headrace.requests"):
        for headers in ({}, {}, {"traceparent": PARENT}, {}):
            assert ask(http, headers=headers).is_success
        eventually(lambda: len(request_lines(caplog)) == 4, "their lines")
    told = [each.fields["trace_id"] for each in request_lines(caplog)]
    assert len({*told}) == 4
    assert {span.trace_id.hex() for span in world.spans} == {told[0], PARENT.split("-")[1]}
    assert [t.split("-")[1] for t in world.traceparents] == told
    assert [int(t.split("-")[3], 16) & 1 for t in world.traceparents] == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("per_second", "moments", "kept"),
    [
        (2, [10.0, 10.0, 10.0, 10.4, 10.5, 10.5], 3),  # two at once, and half a second later one
        (2, [10.0, 10.0, 1000.0, 1000.0, 1000.0], 4),  # what was not taken is not kept for later
        (0.5, [10.0, 11.0, 12.0, 12.0], 2),
        (2, [10.0, 10.0, 9.0, 9.0, 10.0], 2),  # a request may come to it later than one that began after it
    ],
)
def test_an_allowance_limits_traces_per_second(per_second, moments, kept):
    allowance = _Allowance(per_second)
    assert sum(allowance.take(at) for at in moments) == kept


def test_a_dead_receiver_loses_only_spans(tmp_path):
    world = World()
    world.says = ["hi"] * 50
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with asking(tmp_path, world, endpoint=f"http://127.0.0.1:{free.getsockname()[1]}/v1/traces") as http:
            assert all(ask(http).is_success for _ in range(50))
    assert not world.spans


def test_tracing_is_off_without_an_endpoint(tmp_path):
    world = World()
    world.says = ["hi"]
    with asking(tmp_path, world, endpoint=None) as http:
        assert ask(http, headers={"traceparent": PARENT}).is_success
    assert (world.traceparents, world.spans) == ([None], [])
    code = "import sys, serving.api.app; sys.exit(any(m.startswith('serving.telemetry.otlp') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "collector:4318"},
        {"endpoint": "http://collector:4318"},
        {"endpoint": "http://user:password@collector/v1/traces"},
        {"endpoint": "ftp://collector/v1/traces"},
        {"ratio": 1.1},
        {"ratio": -0.1},
        {"per_second": 0},
    ],
)
def test_settings_that_are_wrong_are_refused(wrong):
    with pytest.raises(ValidationError):
        Tracing(**wrong)
