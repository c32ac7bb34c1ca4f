"""Each module that matches regular expressions says why no text can make it slow.

Python's engine backtracks: a pattern may take quadratic or exponential time on a text that somebody chose, and holds
the interpreter's lock meanwhile. Text handling is methods of strings and single passes. A module that still needs
patterns stands here, with the reason why they are linear, or why nobody chooses what they read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import serving
from tests.unit.sources import source

ROOT = Path(serving.__file__).parent

MATCHERS = frozenset({"re", "regex", "fnmatch", "sre_compile", "_sre"})
OURS = "reads what the stack's own configuration or program says"
SHORT = "anchored, over a text whose length is bounded before"
CAMPAIGN = "in tests/unit/campaigns/test_growth.py"
REASONS = {
    "api/app.py": f"a request id, {SHORT}",
    "api/idempotency.py": f"a key, {SHORT}",
    "api/openapi/links.py": OURS,
    "inference/files/request_files.py": "four letters at most, or one character: nothing is tried again",
    "protocol/json_schema_limits.py": f"a pattern of at most MAX_PATTERN characters; {CAMPAIGN}",
    "api/routes/stored_completions.py": "anchored, one repetition that nothing follows but a bracket",
    "api/resumable/ids.py": "an id: anchored, each repetition bounded",
    "assistants/strategies/code_block.py": "tried at the start of each line alone; 65,536 characters at most",
    "assistants/strategies/answers.py": f"the last 8,192 characters, or a number at the start; {CAMPAIGN}",
    "assistants/strategies/react_text.py": f"tried at the start of each line alone; {CAMPAIGN}",
    "assistants/tools/mcp.py": f"a tool's name, {SHORT}",
    "cli/options.py": "what a person types to their own program",
    "telemetry/dashboards/evaluate.py": OURS,
    "telemetry/dashboards/firing.py": OURS,
    "telemetry/dashboards/filters.py": OURS,
    "config/kserve.py": OURS,
    "config/store.py": OURS,
    "config/strategies.py": OURS,
    "config/tools.py": OURS,
    "config/vllm.py": OURS,
    "exports/splits.py": OURS,
    "hub/adapter.py": "in the sandbox; anchored, with one repetition, or without any",
    "hub/checks.py": "names and digests: anchored, bounded",
    "security/sign_in_codes.py": "anchored, one repetition, bounded",
    "retrieval/builder.py": "a set of characters, without repetition",
    "retrieval/cite.py": f"one repetition that the end of the text always ends; {CAMPAIGN}",
    "retrieval/index.py": f"a collection's id, {SHORT}",
    "retrieval/parse.py": f"in the sandbox; each repetition ends where it can begin anew; {CAMPAIGN}",
    "retrieval/parsers/docx.py": "in the sandbox; a style's name, anchored, without repetition",
    "retrieval/parsers/epub.py": "in the sandbox; a repetition ends at the next tag's beginning",
    "retrieval/parsers/html.py": f"in the sandbox; nothing follows a repetition, so none is tried again; {CAMPAIGN}",
    "retrieval/parsers/markdown.py": "in the sandbox; anchored, or tried at the start of each line alone",
    "retrieval/parsers/plain.py": "in the sandbox; each line end is looked from once",
    "retrieval/parsers/table_gaps.py": "in the sandbox; a list's marker, whole, each repetition bounded",
    "retrieval/text/number_formats.py": "in the sandbox; at most 255 characters, to the first of no token",
    "retrieval/excerpts/answer_sentences.py": "fixed words that begin at a boundary; a repetition ends the match",
    "retrieval/excerpts/units.py": "a repetition begins behind a character that it cannot hold, or is anchored",
    "retrieval/relevance.py": "a name as it is written, and quotes whose repetitions end where another begins",
    "retrieval/text/sentences.py": f"white space in one pass, and single characters; {CAMPAIGN}",
    "retrieval/text/words.py": f"nothing follows a repetition, so none is tried again; {CAMPAIGN}",
    "engines/adapters/llamacpp_program.py": "lines of a server's log: each begins with, or searches for, fixed words",
    "engines/required_calls.py": "anchored, and no repetition can hold what follows it",
    "api/background/following.py": "reads events of ours, without repetition",
    "assistants/small_talk.py": "nothing follows the repetition",
    "assistants/unmarking.py": "fixed words, and a mark that nobody else can write; nothing follows a repetition",
    "protocol/validation.py": "a name: anchored, bounded",
    "security/browser.py": "a cookie: anchored, of one length",
    "security/flow.py": "a path: anchored, one repetition that nothing follows",
    "loopback_haproxy.py": OURS,
    "engines/weights/bucket.py": "reads what a client of an object store says",
    "engines/weights/fetch.py": "a line of a file: anchored, one repetition that nothing follows",
    "engines/weights/hub.py": "a revision of the configuration: anchored, of one length",
    "page/assets.py": "a part of a header: anchored, one repetition that nothing follows",
    "engines/weights/shared_folder.py": "a source of the configuration: a set of characters",
    "api/routes/fine_tuning.py": "a set of characters that nothing follows",
    "exports/near_duplicates.py": "a set of characters that nothing follows",
    "tuning/gguf_file.py": "in a child process: one repetition up to a dot, another that nothing follows",
    "hub/evaluation/judging.py": "one letter, no repetition",
    "guardrails/rules/injection.py": f"each repetition bounded, texts in parts; {CAMPAIGN}",
    "guardrails/rules/links.py": f"each repetition bounded, texts in parts; {CAMPAIGN}",
    "guardrails/rules/pii.py": f"each repetition bounded, texts in parts; {CAMPAIGN}",
    "guardrails/rules/scan.py": "applies the patterns of the others to a part of a text at a time",
    "guardrails/rules/secrets.py": f"each repetition bounded, texts in parts; {CAMPAIGN}",
    "guardrails/rules/words.py": f"words of the configuration, escaped, texts in parts; {CAMPAIGN}",
    "security/keys.py": "a key: anchored, of one length",
    "security/tokens.py": "a token: anchored, three parts that dots divide",
    "store/objects/contents.py": "an id: anchored, bounded",
    "store/objects/bucket.py": "reads what a client of an object store says",
    "store/relational/tables/base.py": "ids: anchored, bounded; surrogates, a set of characters",
    "store/relational/postgres.py": "reads what a database's client says",
    "store/tenants.py": "an id: anchored, bounded",
    "store/users.py": "an id: anchored, bounded",
    "core/url.py": "at most MAX_URL characters, which is looked at first",
}


def users(folder: Path) -> Iterator[str]:
    """Yields the modules that import a module of regular expressions, by their paths."""
    for path in sorted(folder.rglob("*.py")):
        if {name.partition(".")[0] for name in source(path).imports} & MATCHERS:
            yield path.relative_to(folder).as_posix()


def test_slow_patterns_are_excluded_with_a_reason() -> None:
    found = set(users(ROOT))
    assert found - set(REASONS) == set(), "say here why no text can make these modules slow, or do without patterns"
    assert set(REASONS) - found == set(), "these need no reason any more"


@pytest.mark.parametrize("line", ["import re", "import os, re", "from re import compile", "import regex as re"])
def test_no_import_is_overlooked(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.py").write_text(f"def f():\n    {line}\n", encoding="utf-8")
    (tmp_path / "b.py").write_text("from . import re_exports\nimport resource\n", encoding="utf-8")
    assert list(users(tmp_path)) == ["a.py"]
