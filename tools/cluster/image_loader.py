"""Loads image archives into the machines, where they are found by name and by digest, as from a registry."""

import os
import shlex
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tools.cluster.layout import IMAGES, IMAGES_INSIDE
from tools.images.oci import IMAGE_NAME, REF_NAME, index_entries
from tools.machines.machine import Machine

_CTR = "ctr --namespace k8s.io images"


def load_images(machines: Sequence[Machine], archive: Path) -> dict[str, str]:
    """Imports an archive's images into every machine that lacks them; returns digests by full name.

    Raises:
        ArchiveError: the file is not an OCI archive.
        ToolError: containerd rejected it.
    """
    images = {
        entry["annotations"].get(IMAGE_NAME) or entry["annotations"][REF_NAME]: str(entry["digest"])
        for entry in index_entries(archive)
    }
    tags = [(name, tag) for name, digest in images.items() for tag in _names(name, digest)]
    wanted = {tag: images[name] for name, tag in tags}
    lacking = [machine for machine in machines if wanted.items() - present_images(machine).items()]
    if lacking:
        shared = IMAGES / f"{os.getpid()}-{archive.name}"
        _share(archive, shared)
        script = [f"{_CTR} import {shlex.quote(f'{IMAGES_INSIDE}/{shared.name}')} >/dev/null"]
        script += [f"{_CTR} tag --force {shlex.quote(name)} {shlex.quote(tag)} >/dev/null" for name, tag in tags]
        try:
            with ThreadPoolExecutor(len(lacking)) as pool:
                list(pool.map(lambda machine: machine.run(["sh", "-ec", "\n".join(script)]), lacking))
        finally:
            shared.unlink()
    return {full_image_name(name): digest for name, digest in images.items()}


def present_images(machine: Machine) -> dict[str, str]:
    """Returns the digests of a machine's images by name."""
    lines = machine.run(["sh", "-c", f"{_CTR} list"]).stdout.splitlines()[1:]
    return {fields[0]: fields[2] for line in lines if len(fields := line.split()) > 2}


def full_image_name(name: str) -> str:
    """Returns the name as containerd looks it up: with a registry, by default Docker's."""
    first, _, rest = name.partition("/")
    if not rest:
        return f"docker.io/library/{name}"
    if first == "localhost" or "." in first or ":" in first:
        return name
    return f"docker.io/{name}"


def _names(name: str, digest: str) -> list[str]:
    full = full_image_name(name)
    repository = full.rsplit(":", 1)[0]
    return [*([full] if full != name else []), name, f"{repository}@{digest}"]


def _share(archive: Path, shared: Path) -> None:
    """Puts the archive into the folder that the machines share with the host."""
    shared.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):  # on another file system
        os.link(archive.resolve(), shared)
        return
    shutil.copy(archive, shared)
