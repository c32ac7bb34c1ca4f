"""Patterns of secrets and addresses. Each quantifier is bounded, so that a scan takes linear time.

Guardrails (`secrets`) and exports of training data (`serving.exports.redaction`) share them.
"""

from __future__ import annotations

# Presidio's own recogniser of addresses downloads a list of domains.
EMAILS = {"address": r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,63}(?![\w-])"}
URLS = {"credentials": r"\b[a-z][a-z0-9+.-]{1,31}://[^\s/@:]{0,256}:[^\s/@]{1,256}@[^\s\"'<>]{1,2048}"}
TOKEN = r"A-Za-z0-9_\-"  # noqa: S105

# In a stream a token must be recognised early, and one that exceeds a bound must be removed completely.
TOKENS = {
    "headrace_key": rf"hr_[{TOKEN}]{{43}}",
    "api_key": rf"(?<![{TOKEN}])(?:sk|rk)[-_][{TOKEN}]{{20,4096}}",
    "hugging_face_token": r"(?<!\w)hf_[A-Za-z0-9]{30,64}(?!\w)",
    "github_token": r"(?<!\w)(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})(?!\w)",
    "gitlab_token": rf"(?<![{TOKEN}])gl(?:pat|rt|dt|cbt|ptt)-[{TOKEN}]{{20,256}}",
    "slack_token": rf"(?<![{TOKEN}])(?:xox[abeoprs]-[A-Za-z0-9-]{{10,1024}}|xapp-[A-Za-z0-9-]{{20,1024}})",
    "slack_webhook": r"hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_+-]{20,256}",
    "aws_key_id": r"(?<!\w)(?:AKIA|ASIA)[A-Z0-9]{16}(?!\w)",
    "google_key": rf"(?<![{TOKEN}])(?:AIza[{TOKEN}]{{35}}(?![{TOKEN}])|GOCSPX-[{TOKEN}]{{20,64}}"
    rf"|ya29\.[{TOKEN}]{{20,2048}})",
    "azure_key": r"(?i:AccountKey|SharedAccessKey)=[A-Za-z0-9+/]{40,128}={0,2}",
    "npm_token": r"(?<!\w)npm_[A-Za-z0-9]{36}(?!\w)",
    "pypi_token": rf"(?<![{TOKEN}])pypi-AgE[{TOKEN}]{{40,1024}}",
    "sendgrid_key": rf"(?<![{TOKEN}])SG\.[{TOKEN}]{{16,32}}\.[{TOKEN}]{{16,64}}",
    "digitalocean_token": r"(?<!\w)do[opr]_v1_[a-f0-9]{64}(?!\w)",
    "vault_token": rf"(?<![{TOKEN}])hv[sbr]\.[{TOKEN}]{{24,1024}}",
    "databricks_token": r"(?<!\w)dapi[a-f0-9]{32}(?!\w)",
    "telegram_token": rf"(?<!\w)\d{{8,10}}:AA[{TOKEN}]{{33}}(?![{TOKEN}])",
    "age_key": r"AGE-SECRET-KEY-1[A-Z0-9]{20,100}",
    "json_web_token": rf"(?<![{TOKEN}])eyJ[{TOKEN}]{{8,200}}\.eyJ[{TOKEN}]{{2,8192}}(?:\.[{TOKEN}]{{0,4096}})?",
    "private_key": (
        r"(?s:-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----(?:(?!-----).){0,16384}"
        r"(?:-----END [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----)?)"
    ),
}
"""Secrets recognised by their form only."""

ASSIGNMENTS = {
    "assignment": (
        r"(?i)(?<![a-z])(?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?key|token)"
        r"[\"']?\s{0,4}[:=]\s{0,4}[\"']?[^\s,;\"']{6,256}"
    ),
}
