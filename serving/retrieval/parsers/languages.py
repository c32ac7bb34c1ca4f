"""The languages of source code and configuration whose files are read as text."""

from __future__ import annotations

LANGUAGES: dict[str, tuple[str, ...]] = {
    "c": (".c", ".h"),
    "cpp": (".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx"),
    "csharp": (".cs",),
    "css": (".css", ".scss", ".less"),
    "go": (".go",),
    "hcl": (".tf", ".hcl"),
    "ini": (".ini", ".cfg", ".conf", ".properties"),
    "java": (".java",),
    "javascript": (".js", ".mjs", ".cjs", ".jsx"),
    "kotlin": (".kt", ".kts"),
    "lua": (".lua",),
    "php": (".php",),
    "protobuf": (".proto",),
    "python": (".py", ".pyi"),
    "r": (".r",),
    "ruby": (".rb",),
    "rust": (".rs",),
    "scala": (".scala",),
    "shell": (".sh", ".bash", ".zsh"),
    "sql": (".sql",),
    "swift": (".swift",),
    "toml": (".toml",),
    "typescript": (".ts", ".tsx", ".mts", ".cts"),
    "xml": (".xml",),
    "yaml": (".yaml", ".yml"),
}
"""Extensions of the files of each language."""
