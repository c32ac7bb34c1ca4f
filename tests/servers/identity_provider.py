"""An identity provider for tests: panva's oidc-provider, a process on loopback, and the keys that it signs by."""

from __future__ import annotations

import json
import re
import time
from html import unescape
from typing import Any
from urllib.parse import urljoin

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.npm import node
from tests.servers.certificate import Certificate
from tests.servers.process import Server

SOURCE = node.SOURCES / "oidc"
AUDIENCE = "urn:headrace:api"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class IdentityProvider(Server):
    """The provider. `home` is the URL of the gateway that its clients come back to; `certificate` makes it https."""

    def __init__(self, home: str, host: str = "127.0.0.1", certificate: Certificate | None = None) -> None:
        super().__init__()
        self.home = home
        self.host, self.port = host, self._port(host)
        self.url = f"{'https' if certificate else 'http'}://{host}:{self.port}"
        self._certificate = certificate
        self._package = node.packages(SOURCE) / "node_modules" / "oidc-provider"
        self.rsa: rsa.RSAPrivateKey
        self.ec: ec.EllipticCurvePrivateKey
        self.generation = 0
        self.rotate()

    def rotate(self) -> None:
        """Starts the provider with new keys of new names."""
        self.generation += 1
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        named = {
            self.kid("RS256"): RSAAlgorithm.to_jwk(self.rsa, as_dict=True),
            self.kid("ES256"): ECAlgorithm.to_jwk(self.ec, as_dict=True),
        }
        keys = [{**jwk, "kid": kid, "use": "sig"} for kid, jwk in named.items()]
        for key in keys:
            key.pop("key_ops", None)
        (self.folder / "keys").write_text(json.dumps({"keys": keys}))
        self.restart()

    def restart(self) -> None:
        self.kill()
        program = str(SOURCE / "provider.js")
        arguments = [str(self._package), self.url, str(self.folder / "keys"), self.home]
        if self._certificate:
            arguments += [str(self._certificate.file), str(self._certificate.key)]
        self._start([node.program("node"), program, *arguments])
        self._ready([self.port], self.host)

    def kid(self, algorithm: str) -> str:
        return f"{algorithm[:2]}-{self.generation}"

    def token(self, algorithm: str = "RS256", *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """Returns an access token for alice that the provider's own key signs; a claim that is None is left out."""
        at = int(time.time())
        made = {"iss": self.url, "sub": "alice", "aud": AUDIENCE, "iat": at, "exp": at + 300, **claims}
        key: PrivateKey = self.rsa if algorithm == "RS256" else self.ec
        header = {"kid": self.kid(algorithm), "typ": "at+jwt", **(headers or {})}
        return jwt.encode({k: v for k, v in made.items() if v is not None}, key, algorithm, headers=header)

    def machine_token(self, resource: str = AUDIENCE) -> str:
        """Returns an access token that a program gets by its own secret."""
        form = {"grant_type": "client_credentials", "resource": resource}
        with httpx.Client(trust_env=False, timeout=60) as client:
            answer = client.post(f"{self.url}/token", data=form, auth=("machine", "s3cret")).raise_for_status()
        return str(answer.json()["access_token"])


def sign_in(browser: httpx.Client, url: str, person: str, home: str) -> str:
    """Follows redirects and fills in the provider's pages as `person`. Returns the URL that leads back to `home`."""
    answer = browser.get(url)
    while True:
        if answer.is_redirect:
            to = urljoin(str(answer.url), answer.headers["location"])
            if to.startswith(home):
                return to
            answer = browser.get(to)
        elif answer.status_code == 200 and (form := re.search(r'<form[^>]* action="([^"]+)"', answer.text)):
            prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
            assert prompt is not None, answer.text
            given = {"prompt": prompt[1], "login": person, "password": "any"}
            answer = browser.post(urljoin(str(answer.url), unescape(form[1])), data=given)
        else:
            raise AssertionError(f"the provider answers {answer.status_code}: {answer.text[:2000]}")
