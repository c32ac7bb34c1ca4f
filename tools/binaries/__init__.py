"""The binaries that a stack runs on: found on PATH, else downloaded, else built from their Go modules.

`infra.programs` pins their versions; `find` finds or obtains them; `python -m tools` lists them.
"""
