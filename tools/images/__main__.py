"""`python -m tools.images`: builds Headrace's container images on this host, without an image registry."""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools.images import sbom
from tools.images.build import RECIPES, build, clear_cache
from tools.images.buildah import PROGRAMS
from tools.images.layer import ArchiveError
from tools.images.oci import rename
from tools.images.push import push
from tools.machines import host
from tools.report import ToolError, say


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, or 1 with a line on stderr."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "build" and options.name and not options.output:
        parser.error("--name names the image in the copy that --output writes")
    try:
        match options.command:
            case "prepare":
                host.prepare(PROGRAMS)
            case "build":
                _build(options.image, options.output, options.name, options.fresh)
            case "push":
                print(push(options.archive, options.name))
            case "bill":
                count = sbom.write_of_root(sys.stdin.buffer, options.output, options.reference)
                print(f"{options.output} lists {count} packages")
    except (ToolError, ArchiveError, OSError, subprocess.SubprocessError) as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; finished layers are kept, run it again to continue")
        return 130
    return 0


def _build(image: str, output: Path | None, name: str | None, fresh: bool) -> None:
    start = time.monotonic()
    if fresh:
        clear_cache(image)
    built = build(image)
    if output:
        rename(built.archive, output, name or built.name)
        shutil.copy(built.bill, output.with_suffix(".cdx.json"))
    print(f"archive  {output or built.archive}")
    print(f"bill     {output.with_suffix('.cdx.json') if output else built.bill}")
    print(f"name     {name if output and name else built.name}")
    print(f"digest   {built.digest}")
    say(f"images: took {time.monotonic() - start:.0f} s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    commands.add_parser("prepare", help="install the programs that builds need (on Debian, as root)")
    making = commands.add_parser(
        "build",
        help="build an image, unless its inputs have not changed",
        description="Builds images/IMAGE/Dockerfile into an OCI archive. Debian's mirror and Python's package index "
        "are those that this host uses. A first build takes minutes, one after a change of code seconds.",
    )
    making.add_argument("image", choices=sorted(RECIPES), help="the image to build")
    making.add_argument(
        "--output", type=Path, metavar="FILE", help="copy the archive to FILE, with its bill of materials"
    )
    making.add_argument("--name", metavar="REF", help="the image's name in the copy, with a tag")
    making.add_argument(
        "--fresh", action="store_true", help="discard cached layers, so that Debian's newest packages are used"
    )
    pushing = commands.add_parser(
        "push", help="push an image's archive into a registry and print its reference by digest"
    )
    pushing.add_argument("archive", type=Path, metavar="FILE", help="the archive that `build --output` wrote")
    pushing.add_argument("name", metavar="REF", help="the image's name in the registry, with a tag")
    billing = commands.add_parser(
        "bill", help="write the bill of materials of an image from its root file system, `docker export`, on stdin"
    )
    billing.add_argument("reference", metavar="REF", help="the image: REPOSITORY:TAG@sha256:DIGEST")
    billing.add_argument("--output", type=Path, required=True, metavar="FILE", help="the file to write (CycloneDX)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
