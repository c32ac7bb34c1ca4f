"""The provider's gRPC server: translates Pulumi's protocol to calls of `Resource` objects."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, cast

import grpc  # type: ignore[import-untyped]
from pulumi.provider.experimental import provider as protocol
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.server import ProviderServicer
from pulumi.runtime import rpc
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, provider_pb2_grpc

from infra.resources.problem import Problem
from infra.resources.resource import UNKNOWN, Resource, Task, Values

VERSION = "0.1.0"

Properties = dict[str, PropertyValue]


def from_property_value(value: PropertyValue) -> Any:
    """Converts a property value to a plain value; whole numbers become integers, secrets are unwrapped."""
    inner = value.value
    if inner == rpc.UNKNOWN:  # the SDK does not use its own `Computed`
        return UNKNOWN
    if isinstance(inner, Mapping):
        return {k: from_property_value(v) for k, v in inner.items()}
    if isinstance(inner, str):
        return inner
    if isinstance(inner, Sequence):
        return [from_property_value(v) for v in cast(Sequence[PropertyValue], inner)]
    if isinstance(inner, float) and inner.is_integer():
        return int(inner)
    return inner


def to_property_value(value: Any, secret: bool = False) -> PropertyValue:
    """Converts a plain value to a property value."""
    if value is UNKNOWN:
        return PropertyValue(rpc.UNKNOWN, is_secret=secret)
    if isinstance(value, Mapping):
        return PropertyValue({k: to_property_value(v) for k, v in value.items()}, is_secret=secret)
    if isinstance(value, (list, tuple)):
        return PropertyValue([to_property_value(v) for v in value], is_secret=secret)
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    return PropertyValue(value, is_secret=secret)


def from_properties(properties: Properties) -> Values:
    return {k: from_property_value(v) for k, v in properties.items() if not k.startswith("__")}


class Engine:
    """Client of the Pulumi engine, for progress messages."""

    def __init__(self, address: str) -> None:
        self._stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address))

    def log(self, urn: str, message: str) -> None:
        request = engine_pb2.LogRequest(severity=engine_pb2.INFO, message=message, urn=urn, ephemeral=True)
        self._stub.Log(request)


class Provider(protocol.Provider):
    """Serves resource types; `kinds` maps their type tokens to their implementations."""

    def __init__(self, kinds: Mapping[str, Resource], engine: Engine) -> None:
        self._kinds = kinds
        self._engine = engine
        self._cancelled = threading.Event()

    def _kind(self, urn: str) -> Resource:
        token = urn.split("::")[2].split("$")[-1]
        if token not in self._kinds:
            raise Problem(f"this version of Headrace does not know the resource type {token}")
        return self._kinds[token]

    def _task(self, urn: str) -> Task:
        return Task(lambda message: self._engine.log(urn, message), self._cancelled)

    def _outputs(self, kind: Resource, values: Values, news: Properties | None = None) -> Properties:
        """Converts outputs; they are secret if the type declares it, or if the input of that name is."""
        secret = kind.secret_outputs | {k for k, v in (news or {}).items() if v.is_secret}
        return {k: to_property_value(v, k in secret) for k, v in values.items()}

    async def get_schema(self, request: protocol.GetSchemaRequest) -> protocol.GetSchemaResponse:
        return protocol.GetSchemaResponse(json.dumps({"name": "headrace", "version": VERSION}))

    async def check_config(self, request: protocol.CheckRequest) -> protocol.CheckResponse:
        return protocol.CheckResponse(inputs=request.new_inputs)

    async def diff_config(self, request: protocol.DiffRequest) -> protocol.DiffResponse:
        return protocol.DiffResponse(changes=False)

    async def configure(self, request: protocol.ConfigureRequest) -> protocol.ConfigureResponse:
        return protocol.ConfigureResponse(accept_secrets=True, supports_preview=True)

    async def check(self, request: protocol.CheckRequest) -> protocol.CheckResponse:
        try:
            kind = self._kind(request.urn)
            found = await asyncio.to_thread(kind.check, from_properties(request.new_inputs))
        except Problem as problem:
            found = {"": str(problem)}
        failures = [protocol.CheckFailure(name, reason) for name, reason in found.items()]
        return protocol.CheckResponse(inputs=request.new_inputs, failures=failures)

    async def diff(self, request: protocol.DiffRequest) -> protocol.DiffResponse:
        kind = self._kind(request.urn)
        difference = kind.diff(from_properties(request.old_state), from_properties(request.new_inputs))
        return protocol.DiffResponse(
            changes=bool(difference.changed),
            replaces=list(difference.replaced),
            diffs=list(difference.changed),
            # Ports, files and folders can have only one owner at a time.
            delete_before_replace=True,
        )

    async def create(self, request: protocol.CreateRequest) -> protocol.CreateResponse:
        kind = self._kind(request.urn)
        new = from_properties(request.properties)
        if request.preview:
            values = {**dict.fromkeys(kind.computed, UNKNOWN), **new}
            return protocol.CreateResponse(properties=self._outputs(kind, values, request.properties))
        id, values = await asyncio.to_thread(kind.create, new, self._task(request.urn))
        return protocol.CreateResponse(id, self._outputs(kind, values, request.properties))

    async def read(self, request: protocol.ReadRequest) -> protocol.ReadResponse:
        kind = self._kind(request.urn)
        found = await asyncio.to_thread(kind.read, request.resource_id, from_properties(request.properties))
        if found.id is None:
            return protocol.ReadResponse()
        outputs = self._outputs(kind, found.outputs, request.properties)
        return protocol.ReadResponse(found.id, outputs, request.inputs)

    async def update(self, request: protocol.UpdateRequest) -> protocol.UpdateResponse:
        kind = self._kind(request.urn)
        old, new = from_properties(request.olds), from_properties(request.news)
        if request.preview:
            values = {**dict.fromkeys(kind.computed, UNKNOWN), **new}
            return protocol.UpdateResponse(self._outputs(kind, values, request.news))
        values = await asyncio.to_thread(kind.update, request.resource_id, old, new, self._task(request.urn))
        return protocol.UpdateResponse(self._outputs(kind, values, request.news))

    async def cancel(self) -> None:
        self._cancelled.set()

    async def delete(self, request: protocol.DeleteRequest) -> None:
        kind = self._kind(request.urn)
        old = from_properties(request.properties)
        await asyncio.to_thread(kind.delete, request.resource_id, old, self._task(request.urn))


class Servicer(ProviderServicer):
    """The SDK's servicer, but a `Problem` is reported as a plain message instead of a traceback."""

    running_operations = 0
    """Number of operations in progress."""

    async def _report_problems(self, call: Awaitable[Any], context: Any) -> Any:
        self.running_operations += 1
        try:
            return await call
        except Exception as e:
            # The SDK converts every exception to one whose text is the traceback.
            problem = e if isinstance(e, Problem) else e.__context__
            if not isinstance(problem, Problem):
                raise
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(problem))
        finally:
            self.running_operations -= 1

    async def Create(self, request: Any, context: Any) -> Any:
        return await self._report_problems(super().Create(request, context), context)

    async def Read(self, request: Any, context: Any) -> Any:
        return await self._report_problems(super().Read(request, context), context)

    async def Update(self, request: Any, context: Any) -> Any:
        return await self._report_problems(super().Update(request, context), context)

    async def Delete(self, request: Any, context: Any) -> Any:
        return await self._report_problems(super().Delete(request, context), context)


def _exit_with_engine(parent: int) -> None:
    """Exits when the engine that started this provider has ended, for whatever reason."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


async def _serve(arguments: list[str], kinds: Mapping[str, Resource], address: str) -> None:
    server = grpc.aio.server(options=_GRPC_CHANNEL_OPTIONS)
    servicer = Servicer(arguments, VERSION, Provider(kinds, Engine(address)), engine_address=address)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    done = asyncio.Event()

    def on_interrupt() -> None:
        if not servicer.running_operations:
            done.set()

    # The engine sends SIGINT when it is done, and waits 5 s for this process to exit. Ctrl-C sends it too, to all
    # processes of the terminal; then the engine calls `cancel`, so that running operations can end properly.
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, on_interrupt)
    print(port, flush=True)
    await done.wait()
    await server.stop(None)


def main(kinds: Mapping[str, Resource]) -> None:
    """Serves `kinds` to the engine, whose address is the first argument, until the engine ends this process."""
    parser = argparse.ArgumentParser(description="Headrace's Pulumi provider; Pulumi starts it")
    parser.add_argument("engine", help="address of the Pulumi engine")
    known, _ = parser.parse_known_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the server has its own handler
    threading.Thread(target=_exit_with_engine, args=(os.getppid(),), daemon=True).start()
    asyncio.run(_serve(sys.argv[1:], kinds, known.engine))
