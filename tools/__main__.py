"""`python -m tools`: lists and obtains the binaries that a stack runs on."""

import argparse
import sys

from infra.programs import CLUSTER_KITS, GPU_KITS, KITS, Kit
from tools import cache
from tools.binaries import find
from tools.report import ToolError, say

_ALL = (*KITS, *CLUSTER_KITS, *GPU_KITS)
EPILOG = f"""\
A tool is taken from PATH if its version is accepted, else from the cache ({cache.root()};
HEADRACE_CACHE names another folder), else from the vendor's release (checksum pinned), else it is built with Go.
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, or 1 with a line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "ensure":
                _print([(kit, find.obtain(kit)) for kit in find.kits_for(options.names, _ALL) or KITS])
            case "path":
                print(find.ensure([options.name], _ALL)[options.name])
            case "bin":
                print(find.bin_dir(options.names, _ALL if options.names else KITS))
            case _:
                _print([(kit, find.find(kit)) for kit in _ALL])
    except (ToolError, OSError) as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; finished parts are kept, run it again to continue")
        return 130
    return 0


def _print(rows: list[tuple[Kit, find.InstalledKit | None]]) -> None:
    table = [("TOOL", "VERSION", "SOURCE", "PATH")]
    for kit, found in rows:
        for name in kit.binaries:
            if found:
                table.append((name, found.version, found.source, str(found.files[name])))
            else:
                table.append((name, "-", "missing", _advice(kit)))
    widths = [max(len(row[column]) for row in table) for column in range(3)]
    for row in table:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))


def _advice(kit: Kit) -> str:
    """Returns how `ensure` would obtain a missing kit."""
    sources = ", else ".join(f"{source.label} {source.version}" for source in find.sources(kit))
    other = find.version_on_path(kit)
    reason = f"PATH has {other}, accepted is {find.accepted_versions(kit)}; " if other else ""
    return f"{reason}`ensure` would obtain it by {sources}" if sources else f"{reason}see {kit.homepage}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools",
        description="The binaries that a stack runs on. Without a command: lists each with its version and path.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    known = ", ".join(name for kit in _ALL for name in kit.binaries)
    ensure = commands.add_parser(
        "ensure", help="obtain the named tools (by default all but those of the test cluster) and list them"
    )
    ensure.add_argument("names", nargs="*", metavar="name", help=known)
    path = commands.add_parser("path", help="print the path of one tool, obtaining it if necessary")
    path.add_argument("name", help=known)
    folder = commands.add_parser("bin", help="print a folder of links to the tools, to put on PATH")
    folder.add_argument("names", nargs="*", metavar="name", help=known)
    return parser


if __name__ == "__main__":
    sys.exit(main())
