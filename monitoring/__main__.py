"""`python -m monitoring OUT`: writes dashboards and rules for use without the chart."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from monitoring import output_files
from monitoring.addresses import URL, Addresses


def _address(text: str) -> str:
    """Returns an absolute URL without a slash at the end."""
    if not re.fullmatch(URL, text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an absolute URL, such as https://grafana.example.com")
    return text.rstrip("/")


def main(arguments: list[str] | None = None) -> int:
    """Writes the files and returns the exit status: 0, or 1 when a file could not be written."""
    parser = argparse.ArgumentParser(
        prog="python -m monitoring",
        description="Writes dashboards (Grafana, Perses), rules (Prometheus) and their objects for Kubernetes.",
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("out", nargs="?", type=Path, metavar="OUT", help="the folder to write, created if necessary")
    place.add_argument("--chart", action="store_true", help="write the files of charts/headrace and of the console")
    parser.add_argument("--namespace", default="", help="restrict the rules to the stack in this namespace")
    parser.add_argument("--runbooks", type=_address, metavar="URL", help="where alerts' runbooks are")
    parser.add_argument("--grafana", type=_address, metavar="URL", help="Grafana's root, for absolute links")
    options = parser.parse_args(arguments)
    if options.chart and options.namespace:
        parser.error("argument --namespace: not allowed with argument --chart, whose rules are for any namespace")
    if options.chart and (options.runbooks or options.grafana):
        parser.error("arguments --runbooks and --grafana: not allowed with argument --chart, whose values have them")
    try:
        if options.chart:
            output_files.write_chart()
            output_files.write_console()
        else:
            to = Addresses(options.runbooks or "", options.grafana or "")
            output_files.write(options.out, output_files.output_files(options.namespace, to))
    except OSError as error:
        print(f"{error.filename}: {error.strerror}: name a writable folder", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
