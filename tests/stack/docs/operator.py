"""Types commands of runbooks on the host of a stack, in its checkout, with what an operator fills in."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.pages.runbooks import Command
from tests.servers.certificate import certificate
from tests.stacks.ports import reserve
from tests.stacks.stack import CHECKOUT, UP_S, Stack, listens
from tests.wait import eventually

FAILED = re.compile(r"^(?!du: ).*No such file or directory|not found$|^(curl|du) fails: ", re.MULTILINE)
"""What a program says that found nothing to look at, also within a pipe, whose end is content with nothing."""
BEGIN = """
unset ARGS MAKEFLAGS MFLAGS MAKELEVEL # of the make that runs the tests
make() { command make RUN= DEV= "$@"; } # the environment is there
# A pipe that has read enough (23) is no failure, and that nothing is found (1) is an answer.
curl() { command curl --fail-with-body "$@" || test $? -eq 23 || echo "curl fails: $*" >&2; }
du() { command du "$@" || test -d "${!#}" || echo "du fails: $*" >&2; } # a file may vanish meanwhile
grep() { command grep "$@" || test $? -eq 1; }
"""


class Operator:
    """An operator of a stack of this host, for whom a tenant, users and an erasure are made.

    `exporter` is the port of the stack's metrics, `tls` an address with a certificate, as `with_certificate` yields.
    """

    def __init__(self, stack: Stack, exporter: int, tls: str) -> None:
        self._stack = stack
        self._tenant = tenant = f"runbooks-{secrets.token_hex(3)}"  # its user is alice, as in the runbooks
        self._user = f"user-of-{tenant}"  # of the stack's own tenant
        with stack.client() as client:
            _created(client, "tenants", id=tenant)
            _created(client, "users", tenant, id="alice")
            _created(client, "users", id=self._user, role="operator")
            _created(client, "users", id=f"leaver-of-{tenant}")
            erasure = _created(client, "erasures", user=f"leaver-of-{tenant}")
            stores = client.get("/v1/vector_stores").raise_for_status().json()["data"]
        self._filled_in = {
            "http://127.0.0.1:8080": stack.url,
            "http://127.0.0.1:9464": f"http://127.0.0.1:{exporter}",
            "assistants.example.com:443": tls,
            "https://assistants.example.com": stack.url,
            "https://models.example.com": stack.url,
            "https://tools.example.com/": f"{stack.url}/healthz",
            "$PWD/.headrace/local": str(stack.layout.state),
            ".headrace/local": str(stack.layout.state),
            "STACK=mine": f"STACK={stack.name}",
            "Pulumi.mine.yaml": "Pulumi.local.yaml",
            "PATH_OF_THE_COLLECTION": "docs",
            "VECTOR_STORE_ID": stores[0]["id"],
            "ALIAS": "released",
            "status ID": f"status {erasure}",
            "--user NAME": f"--user {self._user}",
            "acme": tenant,
        }
        self._environment = {
            **os.environ,
            "HEADRACE_URL": stack.url,
            "HEADRACE_API_KEY": stack.key,
            "REMOTE_KEY": stack.key,
            "STACK": stack.name,
            "PATH": f"{CHECKOUT / '.venv/bin'}:{os.environ['PATH']}",
        }

    def types(self, command: Command) -> str:
        """Returns what a command prints. Raises `AssertionError` if it fails, or finds nothing where it looks."""
        text = command.text
        for shown, put in self._filled_in.items():
            text = text.replace(shown, put)
        tenant = self._tenant if f"--tenant {self._tenant}" in text else None
        if "KEY_ID" in text or "revoke ID" in text:
            key = self._new("keys", tenant, user="alice" if tenant else self._user)
            text = re.sub(r"KEY_ID|(?<=revoke )ID", key, text)
        if "disable ID" in text:
            text = text.replace("disable ID", f"disable {self._new('users', tenant, id='mallory')}")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-c", BEGIN + text],
            cwd=CHECKOUT,
            env=self._environment,
            input="y\n",  # to what asks whether it is meant
            capture_output=True,
            text=True,
            timeout=UP_S,
        )
        said = f"{command}\n{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert done.returncode == 0, f"exit status {done.returncode}: {said}"
        assert not FAILED.search(done.stderr), said
        return done.stdout

    def _new(self, kind: str, tenant: str | None, **given: str) -> str:
        """Returns the id of a new key or user, which the command may revoke or disable."""
        with self._stack.client() as client:
            return _created(client, kind, tenant, **given)


def _created(client: httpx.Client, kind: str, tenant: str | None = None, **given: str) -> str:
    """Creates an object of the stack and returns its id."""
    answer = client.post(f"/v1/admin/{kind}", json=given, params={"tenant": tenant} if tenant else {})
    return str(answer.raise_for_status().json()["id"])


@contextmanager
def with_certificate(folder: Path) -> Iterator[str]:
    """Yields host and port of a server with a certificate."""
    made = certificate(folder, "127.0.0.1")
    [port] = reserve(1)
    server = subprocess.Popen(
        ["openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", "-cert", made.file, "-key", made.key],
        stdin=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: server.poll() is not None or listens(port), "the server listens", 20)
        assert server.poll() is None, "the server ended"
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()
