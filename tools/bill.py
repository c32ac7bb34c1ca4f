"""`python -m tools.bill FILE`: writes the software bill of materials of this environment (CycloneDX 1.6)."""

from __future__ import annotations

import argparse
import hashlib
import sys
import uuid
from collections.abc import Iterator
from email.message import Message
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import cast

from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.utils import canonicalize_name

from tools.images.sbom import MADE, component, python_licenses
from tools.report import say


def write(out: Path) -> int:
    """Writes the bill and returns how many packages it lists. The same environment gives the same bytes."""
    components = sorted(_components(), key=lambda each: str(each.bom_ref.value))
    digest = hashlib.sha256("".join(f"{c.bom_ref.value}\n{_values(c)}" for c in components).encode()).hexdigest()
    application = Component(name="headrace", type=ComponentType.APPLICATION, bom_ref="headrace")
    bom = Bom(components=components, serial_number=uuid.uuid5(uuid.NAMESPACE_OID, digest))
    bom.metadata = BomMetaData(component=application, timestamp=MADE)
    bom.register_dependency(application, components)
    out.write_text(JsonV1Dot6(bom).output_as_string(indent=2) + "\n", encoding="utf-8")
    return len(components)


def _components() -> Iterator[Component]:
    seen = set()
    for each in distributions():
        fields = cast(Message, each.metadata)
        purl = PackageURL("pypi", None, canonicalize_name(fields["Name"]), fields["Version"])
        if purl.name not in seen:  # of several versions on the path, Python imports the first
            seen.add(purl.name)
            yield component(purl, python_licenses(fields), _properties(each))


def _properties(distribution: Distribution) -> dict[str, str]:
    record = distribution.read_text("RECORD")
    return {} if record is None else {"record": hashlib.sha256(record.encode()).hexdigest()}


def _values(component: Component) -> str:
    return "".join(str(each.value) for each in component.properties)


def main(argv: list[str] | None = None) -> int:
    """Writes the bill and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.bill", description=__doc__)
    parser.add_argument("file", type=Path, help="the file to write")
    file: Path = parser.parse_args(argv).file
    say(f"{file}: {write(file)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
