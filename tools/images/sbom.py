"""The software bill of materials of an image (CycloneDX 1.6): every Debian and Python package in it."""

import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import IO

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from tools import licences
from tools.images.content import ImageContent, open_image, open_root
from tools.images.layer import EPOCH_S, ArchiveError
from tools.images.oci import index_entries

_LICENSES = LicenseFactory()
MADE = datetime.fromtimestamp(EPOCH_S, UTC)


_STATUS = "var/lib/dpkg/status"
_REFERENCE = re.compile(r"(?P<name>[^@]+:[^@/:]+)@(?P<digest>sha256:[0-9a-f]{64})")


def write(archive: Path, out: Path, name: str) -> int:
    """Writes the bill of an archive's image and returns how many packages it lists.

    The same image gives the same bytes: the serial number is derived from the image's digest.

    Raises:
        ArchiveError: the archive has no readable image.
    """
    digest = str(index_entries(archive)[0]["digest"])
    with open_image(archive) as content:
        return _write(content, out, name, digest)


def write_of_root(stream: IO[bytes], out: Path, reference: str) -> int:
    """Writes the bill of an image that another builder built, from its root file system as a tar file.

    `reference` is REPOSITORY:TAG@sha256:DIGEST.

    Raises:
        ArchiveError: the reference has another form, or the root is not one of Debian's.
    """
    if not (parts := _REFERENCE.fullmatch(reference)):
        raise ArchiveError(f"{reference} is not of the form REPOSITORY:TAG@sha256:DIGEST")
    with open_root(stream, _is_read) as content:
        if _STATUS not in content.files:
            raise ArchiveError(f"the root file system has no /{_STATUS}")
        return _write(content, out, parts["name"], parts["digest"])


def _is_read(path: str) -> bool:
    """Returns whether a bill is made from this file."""
    folder, _, file = path.rpartition("/")
    if folder.endswith(".dist-info"):
        return file in ("METADATA", "RECORD")
    return path == _STATUS or (folder.startswith("usr/share/doc/") and file == "copyright")


def _write(content: ImageContent, out: Path, name: str, digest: str) -> int:
    components = [*debian(content), *python(content)]
    image = _image(name, digest)
    bom = Bom(components=components, serial_number=uuid.uuid5(uuid.NAMESPACE_OID, digest))
    bom.metadata = BomMetaData(component=image, timestamp=MADE)
    bom.register_dependency(image, components)
    out.write_text(JsonV1Dot6(bom).output_as_string(indent=2) + "\n")
    return len(components)


def debian(content: ImageContent) -> Iterator[Component]:
    """Yields the packages that are installed according to dpkg's status."""
    for text in content.read_file(_STATUS).decode().strip().split("\n\n"):
        fields = _fields(text)
        if "installed" not in fields["Status"].split():
            continue
        name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
        yield component(
            PackageURL("deb", "debian", name, version, {"arch": architecture}),
            [_LICENSES.make_with_name(each) for each in _debian_licenses(content, name)],
            {"source": fields.get("Source", name).split()[0]},
        )


def python(content: ImageContent) -> Iterator[Component]:
    """Yields the Python distributions, by their metadata; `record` is the SHA-256 of RECORD, their files' hashes."""
    for path in sorted(content.files):
        folder, _, file = path.rpartition("/")
        if not (file == "METADATA" and folder.endswith(".dist-info")):
            continue
        fields = _fields(content.read_file(path).decode(errors="replace"))
        name = re.sub(r"[-_.]+", "-", fields["Name"]).lower()
        found = {"path": f"/{folder}"}
        if f"{folder}/RECORD" in content.files:
            found["record"] = hashlib.sha256(content.read_file(f"{folder}/RECORD")).hexdigest()
        yield component(PackageURL("pypi", None, name, fields["Version"]), python_licenses(fields), found)


def component(purl: PackageURL, licenses: Iterable[License], found: dict[str, str]) -> Component:
    """Returns a package as a component; `found` are its other properties."""
    return Component(
        name=purl.name,
        version=purl.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{purl}{found.get('path', '')}",  # a package can bundle others, and a package can be bundled twice
        purl=purl,
        licenses=licenses,
        properties=[Property(name=f"headrace:{key}", value=value) for key, value in found.items()],
    )


def _image(name: str, digest: str) -> Component:
    repository, _, tag = name.rpartition(":")
    return Component(
        name=repository,
        version=tag,
        type=ComponentType.CONTAINER,
        bom_ref=digest,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))],
    )


def _fields(text: str) -> Message:
    return Parser().parsestr(text, headersonly=True)


def _debian_licenses(content: ImageContent, package: str) -> list[str]:
    """Returns the short names in a package's machine-readable copyright file; none if it has another form."""
    try:
        text = content.read_file(f"usr/share/doc/{package}/copyright").decode(errors="replace")
    except KeyError:
        return []
    return sorted(set(re.findall(r"^License: *(\S[^\n]*?) *$", text, flags=re.MULTILINE)))


def python_licenses(fields: Message) -> list[License]:
    """Returns the licences that a Python distribution's metadata declares."""
    found = licences.declared_licences(fields)
    if fields["License-Expression"]:
        return [_LICENSES.make_from_string(found[0])]
    return [_LICENSES.make_with_name(each) for each in found]
