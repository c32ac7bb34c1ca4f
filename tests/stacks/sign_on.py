"""Single sign-on of the session's stack: a real provider on this host, and browsers that reach the API by its name."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.servers.certificate import certificate
from tests.servers.identity_provider import AUDIENCE, IdentityProvider
from tests.servers.process import free_port
from tools.machines import network

HOME = "https://headrace.example.com"
"""Where browsers reach the API on a cluster. Whatever ends TLS there is not part of the tests: they pass it by."""
TENANT = "staff"


@dataclass
class SignOn:
    """A provider. `authority` is the file of its certificate's authority, where it speaks https."""

    provider: IdentityProvider
    authority: Path | None = None
    _api: httpx.URL = field(default_factory=lambda: httpx.URL(""))

    @property
    def home(self) -> str:
        """The API as browsers call it."""
        return self.provider.home

    def settings(self) -> dict[str, object]:
        """Of the stack."""
        issuer: dict[str, Any] = {
            "name": "main",
            "issuer": self.provider.url,
            "client_id": "public",
            "audience": AUDIENCE,
            "scopes": ["openid", "email", "groups"],
            "roles": {"admins": "admin"},
            "tenant": TENANT,
        }
        if self.authority:
            issuer["tls_ca"] = str(self.authority)
        return {"oidc": {"url": self.home, "issuers": [issuer]}}

    def at(self, url: str) -> dict[str, object]:
        """The settings of a stack whose API browsers reach at `url` itself."""
        self.provider.home = url
        self.provider.restart()
        self.reach(url)
        return self.settings()

    def reach(self, url: str) -> None:
        """Says where the API really answers."""
        self._api = httpx.URL(url)

    def browser(self) -> httpx.Client:
        """A client that keeps cookies and believes the provider's certificate."""
        verify = ssl.create_default_context(cafile=self.authority) if self.authority else True
        mounts = {self.home: _Elsewhere(self._api)}
        return httpx.Client(trust_env=False, timeout=60, verify=verify, mounts=mounts)


class _Elsewhere(httpx.HTTPTransport):
    """Sends requests to another address, with the host that they name."""

    def __init__(self, address: httpx.URL) -> None:
        super().__init__(trust_env=False)
        self._address = address

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        # Another request: cookies belong to the host of the one that the client has.
        url = request.url.copy_with(scheme=self._address.scheme, host=self._address.host, port=self._address.port)
        passed_on = httpx.Request(
            request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
        )
        return super().handle_request(passed_on)


@contextmanager
def running(folder: Path, *, on_cluster: bool) -> Iterator[SignOn]:
    """A provider that pods reach too where `on_cluster`."""
    if not on_cluster:
        with closing(IdentityProvider(f"http://127.0.0.1:{free_port()}")) as provider:
            yield SignOn(provider)
        return
    network.up()
    made = certificate(folder, network.HOST)
    with closing(IdentityProvider(HOME, network.HOST, made)) as provider:
        yield SignOn(provider, made.authority)
