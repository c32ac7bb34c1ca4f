"""An upgrade in place: ends the Ray cluster of a RayService that no longer has its specification.

With the strategy `None`, KubeRay starts no second cluster beside the first, and does not change the pods of the first
either. Once that is gone, it starts one with the new specification. The chart annotates the RayService with a digest of
the specification, and KubeRay copies annotations to each Ray cluster that it makes.
"""

from __future__ import annotations

import time

from infra.kubernetes.kube_api import KubeApi
from infra.providers.cluster_api import cluster_api
from infra.resources.problem import Problem
from infra.resources.resource import Found, Resource, Task, Values

REVISION = "headrace.io/revision"
"""Annotation with the digest of the specification, without numbers of pods."""
PAUSE_S = 2


class RayClusterUpgradeProvider(Resource):
    """Inputs: `kubeconfig` (path, or empty), `content` (of a kubeconfig, or empty), `context`, `namespace`, `name` (of
    the RayService), `timeout_s`, `revision` (digest of what can change the specification: after a change, `update`
    looks whether it has).
    """

    replace_on = frozenset({"namespace", "name"})

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        with cluster_api(new) as api:
            service = _observed(api, new, task)
            old = _active(service)
            found = api.get(_clusters(new, old)) if old else None
            if found is not None and _revision(found) != _revision(service):
                task.say(f"ending Ray cluster {old}: running streams may finish, and nothing is served meanwhile")
                api.delete(_clusters(new, old))
                found = None
            if old and found is None:  # an update that was interrupted may have ended it
                _wait_for_another(api, new, old, task)
        return f"{new['namespace']}/{new['name']}", new

    def read(self, id: str, old: Values) -> Found:
        return Found(id, old)

    def delete(self, id: str, old: Values, task: Task) -> None:
        """Does nothing: the RayService owns its Ray cluster."""


def _services(values: Values) -> str:
    return f"/apis/ray.io/v1/namespaces/{values['namespace']}/rayservices/{values['name']}"


def _clusters(values: Values, name: str) -> str:
    return f"/apis/ray.io/v1/namespaces/{values['namespace']}/rayclusters/{name}"


def _revision(document: Values) -> str:
    return str((document["metadata"].get("annotations") or {}).get(REVISION, ""))


def _active(service: Values) -> str:
    status = service.get("status") or {}
    return str((status.get("activeServiceStatus") or {}).get("rayClusterName", ""))


def _observed(api: KubeApi, values: Values, task: Task) -> Values:
    """Returns the RayService once KubeRay has seen its newest specification, and so will start no cluster of an older
    one.
    """
    start = time.monotonic()
    while True:
        service = api.get(_services(values))
        if service is None:
            raise Problem(f"there is no RayService {values['namespace']}/{values['name']}")
        seen = (service.get("status") or {}).get("observedGeneration", 0)
        if seen >= service["metadata"].get("generation", 0):
            return service
        if time.monotonic() - start > values["timeout_s"]:
            raise Problem(f"KubeRay has not seen the change of RayService {values['name']}; read its operator's log")
        task.pause(PAUSE_S)


def _wait_for_another(api: KubeApi, values: Values, old: str, task: Task) -> None:
    start = time.monotonic()
    shown = ""
    while True:
        service = api.get(_services(values)) or {}
        conditions = {c["type"]: c for c in (service.get("status") or {}).get("conditions") or []}
        ready = conditions.get("Ready", {}).get("status") == "True"
        if ready and _active(service) not in ("", old):
            return
        left = api.items(
            f"/api/v1/namespaces/{values['namespace']}/pods?labelSelector=ray.io%2Fcluster%3D{old}&limit=500"
        )
        doing = f"waiting for {len(left)} pods of {old} to end" if left else "waiting for the new Ray cluster"
        if doing != shown:
            task.say(doing)
            shown = doing
        if time.monotonic() - start > values["timeout_s"]:
            raise Problem(
                f"no new Ray cluster serves after {values['timeout_s']:g} s: {doing}"
                f"\nfor details, run kubectl describe rayservice -n {values['namespace']} {values['name']}"
            )
        task.pause(PAUSE_S)
