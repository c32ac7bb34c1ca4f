"""A minimal client of the Kubernetes API, with plain documents and errors for the operator."""

from __future__ import annotations

import contextlib
import json
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from infra.kubernetes.cluster import KUBECONFIG_KEY, ClusterContext, ClusterRefused, ClusterUnusable
from infra.mistakes import Mistake

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

TIMEOUT_S = 10

Document = dict[str, Any]


class KubeApi:
    """Client of one cluster. Raises `ClusterUnusable` if the cluster does not answer or rejects a request."""

    def __init__(self, client: ApiClient, server: str) -> None:
        self.client = client
        self._server = server

    def get(self, path: str) -> Document | None:
        """Returns the document at `path`; None if there is none."""
        return self._ask("GET", path)

    def items(self, path: str) -> list[Document]:
        """Returns the items of the list at `path`."""
        return list((self.get(path) or {}).get("items") or [])

    def post(self, path: str, body: Document) -> Document:
        return self._ask("POST", path, body) or {}

    def delete(self, path: str) -> None:
        """Deletes the object at `path`, if it exists."""
        self._ask("DELETE", path)

    def may_create(self, group: str, kind: str, namespace: str = "") -> bool:
        """Returns whether the kubeconfig's user may create a resource; an empty namespace means all namespaces."""
        attributes = {"group": group, "resource": kind, "verb": "create", "namespace": namespace}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = self.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        return bool((answer.get("status") or {}).get("allowed"))

    def _ask(self, method: str, path: str, body: Document | None = None) -> Document | None:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        request = self.client.param_serialize(
            method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        try:
            response = self.client.call_api(*request, _request_timeout=TIMEOUT_S)
            status, data = int(response.status), response.read()  # type: ignore[no-untyped-call]
        except ApiException as e:
            if not e.status:  # the client raises it without a status if TLS fails
                raise self._problem(f"cannot be reached: {_one_line(e.reason)}", _UNREACHABLE) from None
            status, data = int(e.status), b""
        except (HTTPError, OSError) as e:
            raise self._problem(f"cannot be reached: {_root_cause(e)}", _UNREACHABLE) from None
        if status == 404:
            return None
        if status == 401:
            raise ClusterRefused(self._mistake("rejects its credentials", "renew them, or choose another context"))
        if status == 403:
            verb = {"POST": "create", "DELETE": "delete"}.get(method, "read")
            fix = "grant its user the permission; cluster-admin has all that the stack needs"
            raise ClusterRefused(self._mistake(f"does not allow its user to {verb} {path.partition('?')[0]}", fix))
        try:
            if not 200 <= status < 300:
                raise ValueError
            return dict(json.loads(data))
        except ValueError:
            raise self._problem(f"answers {path} with status {status}", "see the API server's log") from None

    def _problem(self, problem: str, fix: str) -> ClusterUnusable:
        return ClusterUnusable(self._mistake(problem, fix))

    def _mistake(self, problem: str, fix: str) -> Mistake:
        return Mistake(KUBECONFIG_KEY, f"{self._server} {problem}", fix)


_UNREACHABLE = "check context and network; without a cluster, set kubernetes.render or kubernetes.preflight: false"


@contextmanager
def connect(cluster: ClusterContext) -> Iterator[KubeApi]:
    """Connects to a cluster with its credentials. The client library is imported here, as it takes half a second."""
    from kubernetes import config
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import InsecureRequestWarning

    with contextlib.ExitStack() as stack:
        # Do not warn at every request if the kubeconfig disables verification.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", InsecureRequestWarning)
        try:
            settings = {"context": cluster.context, "persist_config": False}
            if cluster.path:
                client = config.new_client_from_config(str(cluster.path), **settings)  # type: ignore[no-untyped-call]
            else:
                # The client writes certificates to files, in a folder that is deleted with the connection.
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                client = config.new_client_from_config_dict(  # type: ignore[no-untyped-call]
                    cluster.document, temp_file_path=folder, **settings
                )
        except (config.ConfigException, ApiException, OSError, ValueError) as e:
            problem = f"context '{cluster.context}' cannot be used: {_root_cause(e)}"
            raise ClusterUnusable(Mistake(KUBECONFIG_KEY, problem, "try it with kubectl")) from None
        client.rest_client.pool_manager.connection_pool_kw["retries"] = False
        stack.callback(client.close)
        yield KubeApi(client, cluster.server)


def _root_cause(error: BaseException) -> str:
    """Returns the innermost cause of an error, in one line."""
    reason = error
    while isinstance(inner := getattr(reason, "reason", None) or reason.__cause__, BaseException):
        reason = inner
    return _one_line(reason) or type(reason).__name__


def _one_line(message: object) -> str:
    return " ".join(str(message).split())[:200]
