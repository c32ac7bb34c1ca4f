"""Patterns of secrets and addresses. Each quantifier has a bound, so that a scan is linear in its text.

Exports of training data use the same list (`serving.exports.redaction`).
"""

from __future__ import annotations

# Presidio's own recogniser of addresses asks the network for a list of domains.
EMAILS = {"address": r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,63}(?![\w-])"}
URLS = {"credentials": r"\b[a-z][a-z0-9+.-]{1,31}://[^\s/@:]{0,256}:[^\s/@]{1,256}@[^\s\"'<>]{1,2048}"}
SECRETS = {
    "Headrace": r"hr_[A-Za-z0-9_-]{43}",
    "OpenAI": r"(?<![\w-])sk-[A-Za-z0-9_-]{20,256}",
    "Hugging Face": r"(?<!\w)hf_[A-Za-z0-9]{30,64}(?!\w)",
    "GitHub": r"(?<!\w)(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})(?!\w)",
    "GitLab": r"(?<![\w-])glpat-[A-Za-z0-9_-]{20,64}",
    "Slack": r"(?<![\w-])xox[abeoprs]-[A-Za-z0-9-]{10,255}",
    "AWS": r"(?<!\w)(?:AKIA|ASIA)[A-Z0-9]{16}(?!\w)",
    "Google": r"(?<![\w-])AIza[A-Za-z0-9_-]{35}(?![\w-])",
    "JSON web token": r"(?<![\w-])eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{16,4096}",
    "private key": (
        r"(?s)-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----(?:(?!-----).){0,16384}(?:-----END [A-Z ]{0,32}PRIVATE KEY-----)?"
    ),
    "assignment": (
        r"(?i)(?<![a-z])(?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?key|token)"
        r"[\"']?\s{0,4}[:=]\s{0,4}[\"']?[^\s,;\"']{6,256}"
    ),
}
