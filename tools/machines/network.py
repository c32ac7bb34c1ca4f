"""The machines' network: a bridge in a namespace of its own, and one link from the host to it.

The bridge is not in the host's namespace, where the host's packet filter would see what machines say to each other.
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
"""The host's address in the machines' network: their default gateway and name server, where nothing answers."""
LINK = "headrace0"
NAMESPACE = FOLDER / "network"
_BRIDGE = "site"


def up() -> None:
    """Makes the network unless it is there."""
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
    """Leads from the host to addresses behind a machine.

    Raises:
        ToolError: the host has a route to this subnet.
    """
    ip(f"route add {subnet} via {via} dev {LINK} proto static")


def unroute() -> None:
    """Removes what `route` made."""
    with contextlib.suppress(ToolError):  # no link, no routes
        ip(f"route flush dev {LINK} proto static")


def attach(name: str, address: str, namespace: Path) -> None:
    """Makes a machine's network namespace, with its link to the bridge."""
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
    """The same after each start, since neighbours remember it."""
    return ":".join(["02", "48", *(f"{byte:02x}" for byte in ipaddress.IPv4Address(address).packed)])


def link(name: str, state: Literal["up", "down"]) -> None:
    """Cuts a machine's link to the bridge, as a pulled cable would, or mends it."""
    inside(NAMESPACE, f"link set {name} {state}")


def detach(name: str, namespace: Path) -> None:
    """Removes what `attach` made."""
    if os.path.ismount(NAMESPACE):
        with contextlib.suppress(ToolError):
            inside(NAMESPACE, f"link delete {name}")
    remove_namespace(namespace)


def make_namespace(file: Path) -> None:
    """Makes a network namespace that lives as long as the file is mounted; /run/netns is left alone."""
    file.touch()
    _run(["unshare", f"--net={file}", "true"])


def remove_namespace(file: Path) -> None:
    """Lets go of the namespace."""
    if os.path.ismount(file):
        _run(["umount", str(file)])
    file.unlink(missing_ok=True)


def ip(*lines: str) -> None:
    """Runs lines of `ip` in the host's namespace."""
    _run(["ip", "-batch", "-"], lines)


def inside(namespace: Path, *lines: str) -> None:
    """Runs lines of `ip` in the namespace."""
    _run(["nsenter", f"--net={namespace}", "ip", "-batch", "-"], lines)


def _run(command: list[str], lines: tuple[str, ...] = ()) -> None:
    done = subprocess.run(command, input="".join(f"{line}\n" for line in lines), capture_output=True, text=True)
    if done.returncode:
        raise ToolError(f"{' '.join(command)}: {done.stderr.strip()}")
