"""Metrics of other programs that expressions may use, with the names and labels that those programs print.

`tests/unit/monitoring/samples` contains output of each program, and a test compares it with these modules.
"""

from __future__ import annotations

from monitoring.external import cert_manager, dcgm, haproxy, kubernetes, llamacpp, node, prometheus, ray, ray_vllm, vllm
from monitoring.series import by_name

_PROGRAMS = (vllm, ray_vllm, llamacpp, ray, haproxy, dcgm, kubernetes, cert_manager, node, prometheus)

EXTERNAL = by_name(one for program in _PROGRAMS for one in program.SERIES)
"""The series that other programs emit."""
