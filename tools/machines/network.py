"""The machines' network: a bridge in its own namespace, and one link from the host to it.

The bridge is not in the host's namespace, where the host's packet filter would apply to traffic between machines.
"""

import contextlib
import ipaddress
import os
import subprocess
from pathlib import Path
from typing import Literal

from tools.machines.folder import FOLDER, locked
from tools.report import ToolError

SUBNET = "10.251.0.0/24"
HOST = "10.251.0.254"
"""The host's address in the machines' network: their default gateway, and a name server that never answers."""
LINK = "headrace0"
NAMESPACE = FOLDER / "network"
_BRIDGE = "site"


def up() -> None:
    """Creates the network unless it exists."""
    with locked():
        if not os.path.ismount(NAMESPACE):
            _make()


def _make() -> None:
    make_namespace(NAMESPACE)
    inside(NAMESPACE, "link set lo up", f"link add {_BRIDGE} type bridge", f"link set {_BRIDGE} up")
    ip(
        f"link add {LINK} type veth peer name host netns {NAMESPACE}",
        f"address add {HOST}/24 dev {LINK}",
        f"link set {LINK} up",
    )
    inside(NAMESPACE, f"link set host master {_BRIDGE} up")


def down() -> None:
    """Removes the network."""
    with contextlib.suppress(ToolError):
        ip(f"link delete {LINK}")
    remove_namespace(NAMESPACE)


def route(subnet: str, via: str) -> None:
    """Adds a route from the host to addresses behind a machine.

    Raises:
        ToolError: the host already has a route to this subnet.
    """
    ip(f"route add {subnet} via {via} dev {LINK} proto static")


def remove_routes() -> None:
    """Removes the routes that `route` added."""
    with contextlib.suppress(ToolError):  # no link, no routes
        ip(f"route flush dev {LINK} proto static")


def attach(name: str, address: str, namespace: Path) -> None:
    """Creates a machine's network namespace, with its link to the bridge."""
    make_namespace(namespace)
    inside(
        NAMESPACE,
        f"link add {name} type veth peer name eth0 address {_mac(address)} netns {namespace}",
        f"link set {name} master {_BRIDGE} up",
    )
    inside(
        namespace,
        "link set lo up",
        f"address add {address}/24 dev eth0",
        "link set eth0 up",
        f"route add default via {HOST}",
    )


def _mac(address: str) -> str:
    """Returns a MAC address that is the same after each start, since neighbours cache it."""
    return ":".join(["02", "48", *(f"{byte:02x}" for byte in ipaddress.IPv4Address(address).packed)])


def link(name: str, state: Literal["up", "down"]) -> None:
    """Disconnects a machine from the bridge, like a pulled cable, or reconnects it."""
    inside(NAMESPACE, f"link set {name} {state}")


def detach(name: str, namespace: Path) -> None:
    """Removes what `attach` created."""
    if os.path.ismount(NAMESPACE):
        with contextlib.suppress(ToolError):
            inside(NAMESPACE, f"link delete {name}")
    remove_namespace(namespace)


def make_namespace(file: Path) -> None:
    """Creates a network namespace that exists as long as it is mounted at the file; /run/netns is not used."""
    file.touch()
    _run(["unshare", f"--net={file}", "true"])


def remove_namespace(file: Path) -> None:
    """Unmounts the namespace and removes its file."""
    if os.path.ismount(file):
        _run(["umount", str(file)])
    file.unlink(missing_ok=True)


def ip(*lines: str) -> None:
    """Runs `ip` commands in the host's namespace."""
    _run(["ip", "-batch", "-"], lines)


def inside(namespace: Path, *lines: str) -> None:
    """Runs `ip` commands in the namespace."""
    _run(["nsenter", f"--net={namespace}", "ip", "-batch", "-"], lines)


def _run(command: list[str], lines: tuple[str, ...] = ()) -> None:
    done = subprocess.run(command, input="".join(f"{line}\n" for line in lines), capture_output=True, text=True)
    if done.returncode:
        raise ToolError(f"{' '.join(command)}: {done.stderr.strip()}")
