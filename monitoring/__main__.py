"""`python -m monitoring OUT`: writes dashboards and rules for programs that are not brought by the chart."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from monitoring import write


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 1 when a file could not be written."""
    parser = argparse.ArgumentParser(
        prog="python -m monitoring",
        description="Writes dashboards (Grafana, Perses), rules (Prometheus) and their objects for Kubernetes.",
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("out", nargs="?", type=Path, metavar="OUT", help="the folder to write; it is made if need be")
    place.add_argument("--chart", action="store_true", help="write the files of charts/headrace instead")
    parser.add_argument("--namespace", default="", help="make rules of the stack in this namespace alone")
    options = parser.parse_args(arguments)
    if options.chart and options.namespace:
        parser.error("argument --namespace: not allowed with argument --chart, whose rules are of its release")
    try:
        if options.chart:
            write.write_chart()
        else:
            write.write(options.out, write.files(options.namespace))
    except OSError as error:
        print(f"{error.filename}: {error.strerror}: name a folder that can be written", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
