"""`python -m tools.cluster`: a real Kubernetes on this host, for the tests and for developers."""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from tools.cluster import cluster
from tools.cluster.layout import BIN, KUBECONFIG, NODES
from tools.images.layer import ArchiveError
from tools.report import ToolError, say


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, or 1 with a line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "prepare":
                cluster.prepare()
            case "up":
                cluster.up(default_class=options.default_class)
                print(_environment())
            case "down":
                cluster.down()
            case "load":
                for name, digest in cluster.load_archives(options.archives).items():
                    print(f"{name} {digest}")
            case "env":
                print(_environment())
            case "kubeconfig":
                print(KUBECONFIG)
            case "status":
                return _status()
    except (ToolError, ArchiveError, OSError, subprocess.SubprocessError) as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; run `.venv/bin/python -m tools.cluster up` to start again, or `down` to clean up")
        return 130
    return 0


def _environment() -> str:
    return f"export KUBECONFIG={shlex.quote(str(KUBECONFIG))}\nexport PATH={shlex.quote(str(BIN))}:$PATH"


def _status() -> int:
    for node in NODES:
        print(f"{node.name:<4} {node.ip:<12} {f'pid {node.pid}' if node.pid else 'off'}")
    up = cluster.running()
    print(f"up, KUBECONFIG={KUBECONFIG}" if up else "not up")
    return 0 if up else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    commands.add_parser(
        "prepare", help="obtain all that `up` needs (Debian packages only as root), which takes minutes"
    )
    up = commands.add_parser("up", help="bring the cluster up, unless it is running")
    up.add_argument(
        "--default-class",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="make `shared` the default storage class",
    )
    commands.add_parser("down", help="stop the cluster and delete everything that it left on this host")
    commands.add_parser("status", help="print whether it is up; the exit status is 1 if it is not")
    load = commands.add_parser("load", help="load OCI image archives into the workers")
    load.add_argument("archives", nargs="+", type=Path, metavar="archive")
    commands.add_parser("env", help="print shell commands that set KUBECONFIG and add kubectl to PATH")
    commands.add_parser("kubeconfig", help="print the path of the cluster's kubeconfig")
    return parser


if __name__ == "__main__":
    sys.exit(main())
