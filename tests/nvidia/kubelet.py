"""A kubelet as a device plugin sees it: it accepts registrations, then lists, watches and allocates devices.

The messages are Kubernetes' own: Go's generated code contains their description.
"""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.rendering.kuberay_chart import go_module_folder
from tools.binaries.gobuild import SOURCES

PACKAGE = "v1beta1"
SOCKET = "kubelet.sock"
PATIENCE_S = 30


@cache
def _messages() -> Mapping[str, Any]:
    """Returns the classes of the messages of the device plugin API, by name."""
    required = (SOURCES / "nvidia" / "go.mod").read_text().split("k8s.io/kubelet ")[1].split()[0]
    folder = go_module_folder(f"k8s.io/kubelet@{required}") / "pkg/apis/deviceplugin" / PACKAGE
    found = re.search(r"var fileDescriptor_\w+ = \[\]byte\{(.*?)\n\}", (folder / "api.pb.go").read_text(), re.DOTALL)
    assert found
    packed = bytes.fromhex("".join(re.findall(r"0x([0-9a-f]{2}),", found[1])))
    described = descriptor_pb2.FileDescriptorProto.FromString(zlib.decompress(packed, wbits=31))  # ty: ignore[missing-attribute]
    described.ClearField("dependency")  # options of Go's generator
    pool = descriptor_pool.DescriptorPool()
    pool.Add(described)
    names = [message.name for message in described.message_type]
    return {n: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{n}")) for n in names}


class Kubelet:
    """What registered plugins say. `folder` is the node's `/var/lib/kubelet/device-plugins`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changed = threading.Condition()
        self._devices: dict[str, dict[str, str]] = {}
        self._channels: dict[str, grpc.Channel] = {}

    def devices(self, resource: str, ready: Callable[[Mapping[str, str]], bool] = bool) -> Mapping[str, str]:
        """Returns the health of a resource's devices by id, once `ready` accepts them: by default once there are any.

        Raises `TimeoutError` if that does not happen.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: ready(self._devices.get(resource, {})), PATIENCE_S):
                raise TimeoutError(f"{resource} has {self._devices.get(resource)}, and resources are {self.resources}")
            return dict(self._devices.get(resource, {}))

    @property
    def resources(self) -> Mapping[str, int]:
        """The number of devices of each registered resource: what the kubelet makes the node's capacity."""
        return {resource: len(devices) for resource, devices in self._devices.items()}

    def prefer(self, resource: str, available: Sequence[str], size: int) -> Sequence[str]:
        """Asks which of the available devices a container should get."""
        one = {"available_deviceIDs": available, "allocation_size": size}
        answer = self._call(resource, "GetPreferredAllocation", "PreferredAllocation", container_requests=[one])
        [chosen] = answer.container_responses
        return list(chosen.deviceIDs)

    def allocate(self, resource: str, devices: Sequence[str]) -> Any:
        """Allocates devices to one container; raises `grpc.RpcError` if the plugin refuses."""
        answer = self._call(resource, "Allocate", "Allocate", container_requests=[{"devices_ids": devices}])
        [container] = answer.container_responses
        return container

    def _call(self, resource: str, method: str, message: str, **fields: Any) -> Any:
        made = _messages()
        call = self._channels[resource].unary_unary(
            f"/{PACKAGE}.DevicePlugin/{method}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=made[f"{message}Response"].FromString,
        )
        return call(made[f"{message}Request"](**fields), timeout=PATIENCE_S)

    def register(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answers a plugin's registration, and from then on watches its devices."""
        assert request.version == PACKAGE
        self._channels[request.resource_name] = grpc.insecure_channel(f"unix:{self._folder / request.endpoint}")
        threading.Thread(target=self._watch, args=(request.resource_name,), daemon=True).start()
        return _messages()["Empty"]()

    def _watch(self, resource: str) -> None:
        made = _messages()
        watch = self._channels[resource].unary_stream(
            f"/{PACKAGE}.DevicePlugin/ListAndWatch",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=made["ListAndWatchResponse"].FromString,
        )
        try:
            for answer in watch(made["Empty"]()):
                with self._changed:
                    self._devices[resource] = {device.ID: device.health for device in answer.devices}
                    self._changed.notify_all()
        except (grpc.RpcError, ValueError):
            return  # the plugin has ended, or the test has

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()


@contextmanager
def kubelet(folder: Path) -> Iterator[Kubelet]:
    """A kubelet that serves in `folder`, the node's `/var/lib/kubelet/device-plugins`."""
    made, double = _messages(), Kubelet(folder)
    server = grpc.server(ThreadPoolExecutor(4))
    handler = grpc.unary_unary_rpc_method_handler(
        double.register,
        request_deserializer=made["RegisterRequest"].FromString,
        response_serializer=lambda answer: answer.SerializeToString(),
    )
    service = grpc.method_handlers_generic_handler(f"{PACKAGE}.Registration", {"Register": handler})
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(f"unix:{folder / SOCKET}")
    server.start()
    try:
        yield double
    finally:
        double.close()
        server.stop(None).wait()
