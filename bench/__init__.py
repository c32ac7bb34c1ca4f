"""Benchmarks, of Headrace and its peers side by side. `python -m bench --help` lists them."""
