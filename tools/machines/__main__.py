"""`python -m tools.machines`: starts, stops and lists nested machines."""

import argparse
import shlex
import subprocess
import sys

from tools.machines import host, network
from tools.machines.machine import Machine, all_machines
from tools.report import ToolError, say


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status of `exec`'s command, else 0, or 1 with a line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "up":
                host.check()
                Machine(options.name, options.ip).up()
            case "down":
                Machine.load(options.name).down()
            case "wipe":
                Machine(options.name, "").wipe()
                if not all_machines():
                    network.down()
            case "exec":
                machine = Machine.load(options.name)
                return subprocess.run([*machine.ssh, shlex.join(options.argv)]).returncode
            case "list":
                for machine in all_machines():
                    print(f"{machine.name:<16}{machine.ip:<16}{f'pid {machine.pid}' if machine.pid else 'off'}")
    except (ToolError, OSError) as error:
        say(f"error: {error}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.machines", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    up = commands.add_parser("up", help="start a machine")
    up.add_argument("name")
    up.add_argument("ip", help=f"its address, in {network.SUBNET}")
    for command, does in {"down": "switch it off; its disk stays", "wipe": "end it and delete its disk"}.items():
        commands.add_parser(command, help=does).add_argument("name")
    execute = commands.add_parser("exec", help="run a command in it, over SSH")
    execute.add_argument("name")
    execute.add_argument("argv", nargs="+", metavar="argument")
    commands.add_parser("list", help="list machines")
    return parser


if __name__ == "__main__":
    sys.exit(main())
