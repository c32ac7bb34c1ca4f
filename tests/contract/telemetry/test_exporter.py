"""Each sample is exported exactly once: across processes, their deaths, and crashes of the exporter itself."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from threading import Thread

import pytest

from serving.telemetry import holders
from serving.telemetry.exporter import Exporter, main, serve

EMIT = """
import sys
from serving.telemetry import metrics
metrics.prompt_tokens.labels("m", "t").inc(int(sys.argv[1]))
metrics.request_seconds.labels("/r", "m", "ok").observe(0.2)
metrics.in_flight().set(7)
"""


def emit(folder, amount):
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", EMIT, str(amount)], env=env, check=True)


def value(text, name):
    lines = [line for line in text.decode().splitlines() if line.startswith(name) and not line.startswith("#")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_dead_processes_are_folded_once(tmp_path):
    for i in range(5):
        emit(tmp_path, 10 + i)
    exporter = Exporter(tmp_path)
    for _ in range(3):
        text = exporter.render()
        assert value(text, "headrace_prompt_tokens_total") == 60
        assert value(text, "headrace_request_duration_seconds_count") == 5
    assert sorted(p.name for p in tmp_path.glob("*.db")) == ["counter_folded.db", "histogram_folded.db"]
    assert value(text, "headrace_requests_in_flight") == 0
    emit(tmp_path, 1)
    assert value(exporter.render(), "headrace_prompt_tokens_total") == 61


LIVE = """
import sys
from serving.telemetry import metrics
for line in sys.stdin:
    metrics.prompt_tokens.labels("m", "t").inc(int(line))
    print("done", flush=True)
"""

ELSEWHERE = """
import sys
from pathlib import Path
from serving.telemetry.exporter import Exporter
assert not Path(f"/proc/{sys.argv[2]}").exists()
sys.stdout.buffer.write(Exporter(Path(sys.argv[1])).render())
"""


def test_live_processes_of_other_containers_are_not_folded(tmp_path):
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    # Only processes that the exporter does not see: those of another container have other ids, or none, in its own.
    alone = ["unshare", "--pid", "--fork", "--mount-proc"] if os.geteuid() == 0 else None
    if alone is None:
        pytest.skip("needs root for a process namespace of its own")
    with subprocess.Popen([sys.executable, "-c", LIVE], env=env, stdin=-1, stdout=-1, text=True) as process:
        for total in (1, 2, 3):
            process.stdin.write("1\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"
            exporter = [*alone, sys.executable, "-c", ELSEWHERE, str(tmp_path), str(process.pid)]
            assert value(subprocess.check_output(exporter), "headrace_prompt_tokens_total") == total
        process.stdin.close()
    assert value(Exporter(tmp_path).render(), "headrace_prompt_tokens_total") == 3
    assert not list(tmp_path.glob("*.lock"))


def test_reused_process_ids_wait_for_the_fold(tmp_path):
    pid = str(os.getpid())
    os.close(holders.hold(tmp_path))
    held = []
    with holders.dead(tmp_path, {pid}) as gone:
        assert gone == {pid}
        thread = Thread(target=lambda: held.append(holders.hold(tmp_path)))
        thread.start()
        thread.join(0.1)
        assert held == []
    thread.join()
    with holders.dead(tmp_path, {pid}) as gone:
        assert gone == set()
    os.close(held[0])
    with holders.dead(tmp_path, {pid}) as gone:
        assert gone == {pid}


def test_an_uncreatable_folder_is_reported(tmp_path, capfd):
    (tmp_path / "file").touch()
    assert main(["--dir", str(tmp_path / "file" / "folder"), "--port", "0"]) == 1
    assert f"cannot use {tmp_path}/file" in capfd.readouterr().err


def test_the_exporter_listens_on_ipv6_and_creates_its_folder(tmp_path):
    server = serve(tmp_path / "not" / "yet", "::1", 0)
    server.server_close()
    assert (tmp_path / "not" / "yet").is_dir()


@pytest.mark.parametrize("crash_at", ["rename", "unlink"])
def test_a_crash_while_folding_neither_loses_nor_doubles_samples(tmp_path, crash_at, monkeypatch):
    for i in range(3):
        emit(tmp_path, 10 + i)
    exporter = Exporter(tmp_path)

    class Crash(Exception):
        pass

    def crash(*_args, **_kwargs):
        raise Crash

    import pathlib

    with monkeypatch.context() as m:
        if crash_at == "rename":
            m.setattr(pathlib.Path, "rename", crash)
        else:
            m.setattr(type(exporter._archive), "_remove", crash)
        with pytest.raises(Crash):
            exporter.render()
    assert value(Exporter(tmp_path).render(), "headrace_prompt_tokens_total") == 33


def test_a_taken_port_is_reported(tmp_path, capfd):
    server = serve(tmp_path, "127.0.0.1", 0)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        assert urllib.request.urlopen(f"{url}/healthz").read() == b"ok\n"
        assert urllib.request.urlopen(f"{url}/metrics").status == 200
        assert main(["--dir", str(tmp_path), "--port", str(server.server_port)]) == 1
        assert "cannot serve" in capfd.readouterr().err
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
