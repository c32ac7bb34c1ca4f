"""Real servers for tests: PostgreSQL and object stores, private to one test session, on loopback.

PostgreSQL is Debian's, which the machines of CI have. The S3 service comes as a Python package, into an environment of
its own, and also stands in for Google's; Azure's is Microsoft's emulator, an npm package.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from serving.config import Store
from tests import node
from tools import environment

UP_S = 60
NOBODY = 65534
MEMORY = Path("/dev/shm")
ROOM = 4 << 30


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as one:
        one.bind((host, 0))
        return int(one.getsockname()[1])


@contextmanager
def held_port(host: str = "127.0.0.1") -> Iterator[int]:
    """A port that is nobody else's until the end. Who connects is refused, unless a server of ours listens there."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that sets it too may bind and listen
        one.bind((host, 0))
        yield int(one.getsockname()[1])


class Server:
    """A child process in a folder of its own, which goes with it."""

    def __init__(self, *, large: bool = False) -> None:
        """What is `large` is kept in memory where there is room: it is thrown away, and a disk takes minutes for it."""
        memory = MEMORY if large and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM else None
        self.folder = Path(tempfile.mkdtemp(prefix="headrace-", dir=memory))
        self.process: subprocess.Popen[bytes] | None = None
        self._held = ExitStack()

    def _port(self, host: str = "127.0.0.1") -> int:
        """A port of this server, also while it is stopped."""
        return self._held.enter_context(held_port(host))

    def _start(self, command: list[str], **options: object) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)

    def _ready(self, url_ports: list[int], host: str = "127.0.0.1") -> None:
        deadline = time.monotonic() + UP_S
        for port in url_ports:
            while True:
                with socket.socket() as s:
                    if s.connect_ex((host, port)) == 0:
                        break
                assert self.process is not None
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"{type(self).__name__} did not start:\n{self.log()[-3000:]}")
                time.sleep(0.02)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Closes what a start that fails has begun: nobody else can, since there is no object then."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def kill(self) -> None:
        """Ends the server as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        self.kill()
        self._held.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Postgres(Server):
    """A PostgreSQL server with one user, `headrace`, who may do everything and has a password."""

    user = "headrace"
    password = "river-bank"

    def __init__(self, address: str = "127.0.0.1") -> None:
        """`address`: where others reach it; this host does on loopback in any case."""
        super().__init__(large=True)
        self.address = address
        self.port = self._port()
        self._databases = 0
        programs = _postgres_programs()
        # The server refuses to run as root.
        self._as: dict[str, object] = {}
        if os.geteuid() == 0:
            self._as = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            os.chown(self.folder, NOBODY, NOBODY)
        self._programs = programs
        (self.folder / "password").write_text(self.password)
        (self.folder / "password").chmod(0o644)
        command = [programs / "initdb", "-D", self.folder / "data", "-U", self.user, "-A", "scram-sha-256"]
        command += ["--pwfile", self.folder / "password", "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, **self._as)
        with (self.folder / "data/pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")
        self.start()

    def start(self, **settings: object) -> None:
        """Starts (or restarts) the server, with further settings if any."""
        wanted = {
            "listen_addresses": ",".join(dict.fromkeys(("127.0.0.1", self.address))),
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": 60,
            "shared_buffers": "16MB",
            **settings,
        }
        options = [part for name, value in wanted.items() for part in ("-c", f"{name}={value}")]
        self._start([str(self._programs / "postgres"), "-D", str(self.folder / "data"), *options], **self._as)
        deadline = time.monotonic() + UP_S
        while not self._answers():
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL did not start:\n{self.log()[-3000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends the server at once, but in order (`SIGINT`: clients are cut off)."""
        assert self.process is not None
        self.process.send_signal(2)
        self.process.wait()

    def kill(self) -> None:
        """Ends the server as a power cut would: all of its processes, which share a group of their own."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(3)  # "immediate": no checkpoint, recovery at the next start
            self.process.wait()

    def crash(self) -> None:
        """Ends all of the server's processes by SIGKILL: the first one first, which would start others again."""
        assert self.process is not None
        first = psutil.Process(self.process.pid)
        first.suspend()  # it starts no other meanwhile
        others = first.children(recursive=True)
        self.process.kill()
        self.process.wait()
        for process in others:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(others, timeout=UP_S)

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Runs one statement outside of any transaction."""
        import psycopg

        with psycopg.connect(self._dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def database(self, template: str = "") -> str:
        """Makes an empty database, or a copy of another to which nobody is connected; returns its URL, no password."""
        self._databases += 1
        name = f"test{self._databases}"
        self.sql(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return self.url(name)

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}@{self.address}:{self.port}/{database}"

    def _dsn(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user={self.user} password={self.password} dbname={database}"

    def _answers(self) -> bool:
        import psycopg

        try:
            self.sql("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


class ObjectStore(Server):
    """An object store with one bucket. It keeps all in memory, and checks who asks."""

    place: str
    """The bucket, as `store.data` names it."""
    missing: str
    """A bucket that is not there."""

    def __init__(self) -> None:
        super().__init__()
        self.port = self._port()
        self._prefixes = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """By which its clients get their credentials."""
        raise NotImplementedError

    def start(self) -> None:
        """Starts the service anew, empty but for the bucket."""
        raise NotImplementedError

    def refused(self, monkeypatch: pytest.MonkeyPatch) -> Store:
        """Returns a configuration whose credentials are wrong, until the test's end."""
        raise NotImplementedError

    def store(self, **changes: object) -> Store:
        """Returns a configuration with an unused prefix of the bucket."""
        self._prefixes += 1
        given = {"database": "sqlite:////nowhere", "data": f"{self.place}/stack{self._prefixes}"}
        return Store.model_validate({**given, "endpoint": self.endpoint, **changes})


class S3(ObjectStore):
    """An S3 service (moto) with one account, whose signatures it checks."""

    bucket = "headrace-test"
    place = f"s3://{bucket}"
    missing = "s3://no-such-bucket/a"

    def __init__(self) -> None:
        super().__init__()
        self._environment = environment.locked_environment("test-s3")
        self.key = self.secret = ""
        self.start()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def refused(self, monkeypatch: pytest.MonkeyPatch) -> Store:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        return self.store()

    def start(self) -> None:
        """Starts the service anew, empty but for the bucket; the account gets new keys."""
        self._start([str(self._environment / "bin" / "moto_server"), "-H", "127.0.0.1", "-p", str(self.port)])
        self._ready([self.port])
        made = subprocess.run(
            [self._environment / "bin" / "python", "-c", _ACCOUNT, self.endpoint, self.bucket],
            check=True,
            capture_output=True,
        )
        self.key, self.secret = json.loads(made.stdout)
        # From here on nobody does anything without a signature.
        headers = {"content-type": "text/plain"}
        with httpx.Client(trust_env=False, timeout=UP_S) as client:
            client.post(f"{self.endpoint}/moto-api/reset-auth", content="0", headers=headers).raise_for_status()


class Gcs(ObjectStore):
    """What speaks Google's XML API (see gcs.py), and a metadata server that gives tokens for it."""

    place = "gs://headrace-test"
    missing = "gs://no-such-bucket/a"

    def __init__(self) -> None:
        super().__init__()
        self._environment = environment.locked_environment("test-s3")
        self._token = secrets.token_hex()
        self.start()

    @property
    def environment(self) -> dict[str, str]:
        # HOME: what a developer is logged in to is not used.
        return {"GCE_METADATA_ROOT": f"127.0.0.1:{self.port}", "HOME": str(self.folder)}

    def start(self) -> None:
        program = Path(__file__).with_name("gcs.py")
        self._start([str(self._environment / "bin" / "python"), str(program), str(self.port), self._token])
        self._ready([self.port])
        headers = {"authorization": f"Bearer {self._token}"}
        with httpx.Client(trust_env=False, headers=headers, timeout=UP_S) as client:
            client.put(f"{self.endpoint}/headrace-test").raise_for_status()

    def refused(self, monkeypatch: pytest.MonkeyPatch) -> Store:
        monkeypatch.setenv("GCE_METADATA_ROOT", f"127.0.0.1:{self.port}/wrong")
        return self.store()


class Azure(ObjectStore):
    """Azurite with two accounts; `environment` has the key of the first."""

    place = "az://headrace/test"
    missing = "az://headrace/missing/a"

    def __init__(self) -> None:
        super().__init__()
        installed = node.packages(Path(__file__).with_name("azurite"))
        self._program = installed / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
        self._key, other = (base64.b64encode(secrets.token_bytes(64)).decode() for _ in range(2))
        self._accounts = f"headrace:{self._key};other:{other}"
        self.start()

    @property
    def environment(self) -> dict[str, str]:
        return {"AZURE_STORAGE_ACCOUNT_KEY": self._key}

    def start(self) -> None:
        options = ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck"]
        where = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port)]
        accounts = {"AZURITE_ACCOUNTS": self._accounts}
        command = ["node", str(self._program), *options, *where]
        self._start(command, cwd=self.folder, env={**os.environ, **accounts})
        self._ready([self.port])
        from pyarrow import fs

        host = f"127.0.0.1:{self.port}"
        authority = {"blob_storage_authority": host, "dfs_storage_authority": host}
        scheme = {"blob_storage_scheme": "http", "dfs_storage_scheme": "http"}
        fs.AzureFileSystem("headrace", account_key=self._key, **authority, **scheme).create_dir("test")

    def refused(self, monkeypatch: pytest.MonkeyPatch) -> Store:
        return self.store(data="az://other/test/a")


_ACCOUNT = """
import json, sys
import boto3
endpoint, bucket = sys.argv[1:]
given = {"region_name": "us-east-1", "aws_access_key_id": "x", "aws_secret_access_key": "x", "endpoint_url": endpoint}
boto3.client("s3", **given).create_bucket(Bucket=bucket)
iam = boto3.client("iam", **given)
iam.create_user(UserName="headrace")
policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
iam.put_user_policy(UserName="headrace", PolicyName="s3", PolicyDocument=json.dumps(policy))
key = iam.create_access_key(UserName="headrace")["AccessKey"]
print(json.dumps([key["AccessKeyId"], key["SecretAccessKey"]]))
"""


def _postgres_programs() -> Path:
    """Returns the folder of the newest PostgreSQL that this machine has, as Debian's packages lay it out."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if not installed:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    return installed[-1].parent
