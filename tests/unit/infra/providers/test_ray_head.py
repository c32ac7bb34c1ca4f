from pathlib import Path
from typing import Any

import pytest

from infra.providers import ports
from infra.providers.ray_head import NODE, _arguments, _environment
from infra.providers.ray_ports import BASES, SIZE, RayPorts, choose
from infra.resources.problem import Problem

INNER = RayPorts(20_000)


def inputs(tmp_path: Path) -> dict[str, Any]:
    return {
        "ray": ["ray"],
        "record": str(tmp_path / "run"),
        "token_path": "/secrets/token",
        "dashboard_port": 8265,
        "cpus": 2,
        "object_store_bytes": 100_000_000,
        "ports": {},
    }


def test_ports_of_a_block_are_distinct_and_inside_it() -> None:
    singles = [v for p in vars(RayPorts) if isinstance(v := getattr(INNER, p), int) and p != "base"]
    ranges = [INNER.replicas_http, INNER.replicas_grpc, INNER.workers]
    used = [*singles, *(p for first, last in ranges for p in range(first, last + 1))]
    assert len(used) == len(set(used))
    assert all(INNER.base <= p < INNER.base + SIZE for p in used)


def test_a_free_port_block_is_chosen_and_a_busy_one_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = {port for base in BASES[:-1] for port in [base + 7]}
    monkeypatch.setattr(ports, "is_free", lambda port, host="": port not in busy)
    assert choose(0, "seed").base == BASES[-1]
    with pytest.raises(Problem, match=r"port 11007 of Ray's block 11000-11999 is used by .*headrace:ports.ray"):
        choose(11_000, "seed")


def test_ray_stays_on_loopback_and_sees_no_secret_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "planted")
    arguments = _arguments(inputs(tmp_path), INNER, tmp_path)
    environment = _environment(inputs(tmp_path), INNER, tmp_path)
    assert f"--node-ip-address={NODE}" in arguments
    assert "--dashboard-host=127.0.0.1" in arguments
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN_PATH"] == "/secrets/token"
    assert "planted" not in repr((arguments, environment))
    assert Path(environment.pop("RAY_SERVE_HAPROXY_BINARY_PATH")).stat().st_mode & 0o100
    assert environment["HEADRACE_METRICS_ON_LOOPBACK"] == "1"
    folder = str(tmp_path / "ha")
    assert all(v.startswith(folder) for k, v in environment.items() if "HAPROXY" in k and k.endswith(("PATH", "BASE")))
