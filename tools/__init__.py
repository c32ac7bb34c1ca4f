"""The binaries that the stack drives: found on PATH, else downloaded, else built from their Go modules.

What is pinned stands in `infra.versions`; `tools.find` finds or obtains it; `python -m tools` shows it.
"""
