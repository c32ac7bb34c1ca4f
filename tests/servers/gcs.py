"""A Google Cloud Storage for tests, run by the environment of `test-s3`: `python gcs.py PORT TOKEN`.

Google's XML API is made to look like S3's, so moto answers; what is Google's own is put before it: bearer tokens, the
metadata server from which a pod's workload identity gets them, and the header for conditional writes. Below /wrong the
metadata server gives a token that is refused.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from urllib.parse import quote

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

port, token = int(sys.argv[1]), sys.argv[2]
s3 = DomainDispatcherApplication(create_backend_app)

SIGNED = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x"


def answer(environ: dict[str, str], start: Callable[..., object]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path.endswith("/computeMetadata/v1/instance/service-accounts/default/token"):
        start("200 OK", [("content-type", "application/json")])
        given = "wrong" if path.startswith("/wrong/") else token
        return [json.dumps({"access_token": given, "expires_in": 3600, "token_type": "Bearer"}).encode()]
    if environ.get("HTTP_AUTHORIZATION") != f"Bearer {token}":
        start("401 Unauthorized", [("content-type", "application/xml")])
        return [b"<Error><Code>AuthenticationRequired</Code></Error>"]
    if environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH") == "0":
        environ["HTTP_IF_NONE_MATCH"] = "*"
    # Google's client escapes more in a bucket's name than moto expects.
    plain = f"{quote(path.encode('latin-1'))}?{environ['QUERY_STRING']}"
    environ |= {"HTTP_AUTHORIZATION": SIGNED, "HTTP_HOST": "s3.amazonaws.com", "RAW_URI": plain, "REQUEST_URI": plain}
    return s3(environ, start)


run_simple("127.0.0.1", port, answer, threaded=True)
