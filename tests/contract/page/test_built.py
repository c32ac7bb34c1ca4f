"""The files of the page are what its sources become, and its sources are right: types, and tests of their own."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.contract.page import sources


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sources.copied(tmp_path_factory.mktemp("page"))


def test_the_assets_are_what_the_sources_become(place: Path, tmp_path: Path) -> None:
    """Compressed files are compared by what is in them: each version of Node may compress in its own way."""
    sources.run(place, "build.js", str(tmp_path))
    hint = "the page's assets are not those of its sources: `npm ci && npm run build` in ui/ writes them"
    built, committed = ({path.name for path in folder.iterdir()} for folder in (tmp_path, sources.ASSETS))
    assert built == committed, hint
    for name in built:
        if not name.endswith((".gz", ".br")):
            assert (tmp_path / name).read_bytes() == (sources.ASSETS / name).read_bytes(), hint
    for path in sources.ASSETS.glob("*.gz"):
        assert gzip.decompress(path.read_bytes()) == path.with_suffix("").read_bytes(), hint


def test_brotli_files_are_those_beside_them(place: Path) -> None:
    program = """
      import { readFileSync, readdirSync } from "node:fs";
      import { brotliDecompressSync } from "node:zlib";
      const folder = process.argv[1];
      const names = readdirSync(folder).filter((name) => name.endsWith(".br"));
      if (names.length < 2) throw new Error("there are none");
      for (const name of names) {
        const plain = readFileSync(`${folder}/${name.slice(0, -3)}`);
        if (!brotliDecompressSync(readFileSync(`${folder}/${name}`)).equals(plain)) throw new Error(name);
      }
    """
    sources.run(place, "--input-type=module", "--eval", program, str(sources.ASSETS))


def test_the_sources_are_well_typed(place: Path) -> None:
    sources.run(place, "node_modules/typescript/bin/tsc")


def test_the_tests_of_the_sources_pass(place: Path) -> None:
    """They read every example of CommonMark piece by piece, and text that is meant to take long."""
    sources.run(place, "test.js")
