"""Metrics of the programs around Headrace that expressions may use, under the names and labels that they print.

`tests/unit/monitoring/samples` holds what each program prints, and a test compares.
"""

from __future__ import annotations

from monitoring.external import cert_manager, dcgm, haproxy, kubernetes, llamacpp, node, prometheus, ray, ray_vllm, vllm
from monitoring.series import by_name

_PROGRAMS = (vllm, ray_vllm, llamacpp, ray, haproxy, dcgm, kubernetes, cert_manager, node, prometheus)

EXTERNAL = by_name(one for program in _PROGRAMS for one in program.SERIES)
"""What other programs emit."""
