"""Object stores for tests, private to one test session.

The S3 service comes as a Python package, into an environment of its own, and also stands in for Google's; Azure's is
Microsoft's emulator, an npm package.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
from pathlib import Path

import httpx
import pytest

from serving.config import Store
from tests.npm import node
from tests.servers.process import UP_S, Server
from tools import environment


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
    """An S3 service (moto) with one account, whose signatures it checks, and a key of its KMS."""

    bucket = "headrace-test"
    place = f"s3://{bucket}"
    missing = "s3://no-such-bucket/a"
    kms_key = "alias/headrace-test"

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
            [self._environment / "bin" / "python", "-c", _ACCOUNT, self.endpoint, self.bucket, self.kms_key],
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
        installed = node.packages(node.SOURCES / "azurite")
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
endpoint, bucket, alias = sys.argv[1:]
given = {"region_name": "us-east-1", "aws_access_key_id": "x", "aws_secret_access_key": "x", "endpoint_url": endpoint}
boto3.client("s3", **given).create_bucket(Bucket=bucket)
kms = boto3.client("kms", **given)
kms.create_alias(AliasName=alias, TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
iam = boto3.client("iam", **given)
iam.create_user(UserName="headrace")
policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*", "kms:*"], "Resource": "*"}]}
iam.put_user_policy(UserName="headrace", PolicyName="s3", PolicyDocument=json.dumps(policy))
key = iam.create_access_key(UserName="headrace")["AccessKey"]
print(json.dumps([key["AccessKeyId"], key["SecretAccessKey"]]))
"""
