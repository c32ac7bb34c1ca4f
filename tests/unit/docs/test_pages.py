"""What a reader may rely on: links lead somewhere, commands exist, no page names a machine."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from infra.config import StackConfig

ROOT = Path(__file__).parents[3]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")  # what looks like a link in it is none
QUESTIONS = ROOT / "tests" / "client" / "questions.jsonl"

# Folders that only one machine has.
MACHINE = re.compile(r"(?<![\w./-])/(?:work|root(?!/\.ssh)|opt/wheels)\b")
REGISTRY = re.compile(r"index-url|find-links|(?<!\"url\": \"https)://|\"resolved\":")
"""A `url` of npm's locks is where a package's authors collect money."""
LOCKS = ("go.sum", "package-lock.json")


def name(path):
    return str(path.relative_to(ROOT))


@cache
def anchors(file):
    """GitHub's anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", file.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_resolves(page):
    for link in LINK.findall(CODE.sub("", FENCE.sub("", page.read_text()))):
        if link.startswith(("http://", "https://")):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), link
        assert file.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(file), link


def test_every_page_is_reachable_from_the_index():
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text())}
    pages = {p for p in PAGES if (ROOT / "docs") in p.parents} - {index}
    assert pages - linked == set()


def test_pages_have_names_of_their_own():
    """A citation shows the file's name only."""
    names = [p.name for p in PAGES]
    assert len(names) == len(set(names))


def test_the_readme_begins_with_what_to_type():
    first = FENCE.search((ROOT / "README.md").read_text())[0].splitlines()[1:-1]
    assert [line.partition("  ")[0] for line in first][1:] == ["make up", "make test"]
    assert re.fullmatch(r"git clone https://\S+/headrace\.git && cd headrace", first[0])


def test_the_readme_says_one_sentence_a_bullet():
    there_is = (ROOT / "README.md").read_text().partition("## What there is\n")[2].partition("\n\nNot everything")[0]
    bullets = there_is.strip().splitlines()
    assert len(bullets) > 10
    for bullet in bullets:
        assert re.fullmatch(r"- \*\*[^*]+\*\*: [^;]+\.", bullet), bullet
        assert not re.search(r"[.:;] ", re.sub(r"^- \*\*[^*]+\*\*: ", "", bullet)), bullet


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name)
def test_no_page_promises_the_page_that_the_console_replaced(page):
    assert not re.search(r"(?<![\w.])/status\b(?!\.md)|[Ss]tatus page|\bstatus\.log\b", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_make_verb_exists(page):
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for verb in re.findall(r"`make (?:-s )?([a-z-]+)", page.read_text()):
        assert verb in verbs, verb


MAP = re.compile(r"^\| `([\w./-]+)` \|", re.MULTILINE)


def test_every_path_of_the_repository_map_exists():
    paths = MAP.findall((ROOT / "CONTRIBUTING.md").read_text())
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_first_page_of_a_contributor_stays_short():
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 90


def test_every_folder_of_the_product_says_what_it_contains():
    """The map of a part of the product is the first lines of its folders."""
    packages = [path for path in _tracked() if path.name == "__init__.py"]
    folders = [path for path in packages if path.relative_to(ROOT).parts[0] != "tests"]
    assert len(folders) > 100
    assert [name(path) for path in folders if not path.read_text().startswith('"""')] == []


def test_the_folders_of_the_tests_are_described():
    described = set(MAP.findall((ROOT / "docs/explanation/testing.md").read_text()))
    assert [path for path in described if not (ROOT / path).exists()] == []
    parts = [path.relative_to(ROOT).parts for path in _tracked()]
    folders = {f"tests/{each[1]}/" for each in parts if each[0] == "tests" and len(each) > 2}
    assert folders - described == set()


def _tracked():
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [ROOT / f for f in files.split("\0") if f and (ROOT / f).is_file()]


def test_no_file_names_a_folder_of_one_machine():
    assert not [where for path in _tracked() for where in _matches(path, MACHINE)]


def test_lock_files_name_no_registry():
    locks = [path for path in _tracked() if path.parent.name == "requirements" or path.name in LOCKS]
    assert len(locks) > 2
    assert not [where for path in locks for where in _matches(path, REGISTRY)]


def _matches(path, pattern):
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return []
    return [f"{name(path)}:{text.count(chr(10), 0, found.start()) + 1}" for found in pattern.finditer(text)]


def questions():
    return [json.loads(line) for line in QUESTIONS.read_text().splitlines()]


def test_every_question_can_be_answered_from_its_files():
    asked = [q["question"] for q in questions()]
    assert len(asked) == len(set(asked))
    for q in questions():
        assert set(q) == {"question", "files", "must"}
        for file in q["files"]:
            text = plain((ROOT / file).read_text())
            assert any(m in text for m in q["must"]), (q["question"], file)
    assert sum(bool(q["files"]) for q in questions()) >= 40
    assert sum(not q["files"] for q in questions()) >= 10


def plain(markdown):
    """What retrieval reads of a page: no marks of code or emphasis."""
    return markdown.replace("`", "").replace("**", "")


def _rows(page):
    """The cells of all tables of a page, without the lines below their heads."""
    lines = [line for line in (ROOT / page).read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("| ---")]


def test_the_glossary_has_each_term_once():
    header, *entries = _rows("docs/reference/glossary.md")
    assert header == ["term", "meaning"]
    terms = [term for term, _ in entries]
    assert terms == sorted(set(terms))
    assert all(meaning.endswith(".") for _, meaning in entries)


def test_the_concepts_are_terms_of_the_glossary():
    glossary = {term for term, _ in _rows("docs/reference/glossary.md")}
    terms = [row[0] for row in _rows("docs/explanation/concepts.md") if row[0] != "term"]
    assert len(terms) == len(set(terms)) > 20
    assert set(terms) - glossary == set()


_SETTING = re.compile(r"`headrace:([a-z_]+)((?:\.[a-z_]+)*)")


def test_settings_named_in_pages_exist():
    schema = StackConfig.model_json_schema()
    unknown = {}
    for page in PAGES:
        for setting, path in _SETTING.findall(page.read_text()):
            if page.name != "CHANGELOG.md" and not _is_there(schema, schema, [setting, *path.split(".")[1:]]):
                unknown.setdefault(name(page), set()).add(setting + path)
    assert unknown == {}


def _is_there(root, schema, path):
    """Whether a path of fields leads somewhere in a JSON Schema, whatever lists and choices are between."""
    if not path:
        return True
    field = schema.get("properties", {}).get(path[0])
    if field is not None and _is_there(root, field, path[1:]):
        return True
    inner = [*schema.get("anyOf", []), *schema.get("oneOf", []), *schema.get("allOf", [])]
    inner += [schema[key] for key in ("items", "additionalProperties") if isinstance(schema.get(key), dict)]
    if "$ref" in schema:
        inner.append(root["$defs"][schema["$ref"].rpartition("/")[2]])
    return any(_is_there(root, each, path) for each in inner)


_ASKED = re.compile(r'(?:\bmodel=|"model": ?)"([^"]+)"')
_SNIPPET = re.compile(r"^```(python|sh|json)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"""^\s*(?:- )?name: ["']?([\w.-]+)""", re.MULTILINE)


def test_models_in_snippets_exist():
    """Those of the default stack, or of a stack whose settings the same page shows."""
    local = _NAMED.findall((ROOT / "Pulumi.local.yaml").read_text())
    assert {"docs", "smollm2"} <= {*local}
    unknown = {}
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = page.read_text()
        there = {*local, *_NAMED.findall(text), "all-minilm-l6-v2"}
        for _, snippet in _SNIPPET.findall(text):
            for asked in _ASKED.findall(snippet):
                if asked not in there:
                    unknown.setdefault(name(page), set()).add(asked)
    assert unknown == {}
