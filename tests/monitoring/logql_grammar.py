"""LogQL by the grammar that Grafana's own editor has."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence

from tests.npm import node

PARSE = """
import { parser } from "@grafana/lezer-logql";
import { readFileSync } from "node:fs";
const wrong = (query) => {
  const places = [];
  parser.parse(query).iterate({ enter: (found) => { if (found.type.isError) places.push(found.from); } });
  return places;
};
console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(wrong)));
"""


def mistakes(queries: Sequence[str]) -> list[list[int]]:
    """Returns for each query where it does not parse; variables of Grafana must have been replaced."""
    folder = node.packages(node.SOURCES / "logql")
    command = [node.program("node"), "--input-type=module", "-e", PARSE]
    done = subprocess.run(
        command, cwd=folder, input=json.dumps(queries), capture_output=True, text=True, timeout=60, check=True
    )
    found: list[list[int]] = json.loads(done.stdout)
    return found
