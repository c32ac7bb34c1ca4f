"""What the stack finds in the cluster and does not make: a PostgreSQL, a model behind a URL, a Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.images import Image, Images
from tools.cluster.kubectl import kubectl

NAMESPACE = "headrace-around"
MONITORING = "monitoring"
DATABASE_URL = f"postgresql://postgres@postgresql.{NAMESPACE}.svc:5432/headrace"
READY = "--timeout=180s"

Object = dict[str, Any]


@contextmanager
def services(images: Images, password: str) -> Iterator[None]:
    """The database and the slow model, ready; their namespace is deleted at the end."""
    apply(namespace(NAMESPACE), *_postgresql(images.postgres, password), *_ticker(images.serving))
    try:
        kubectl(f"-n={NAMESPACE}", "rollout", "status", "statefulset/postgresql", READY)
        kubectl(f"-n={NAMESPACE}", "rollout", "status", "deployment/ticker", READY)
        yield
    finally:
        kubectl("delete", "namespace", NAMESPACE, "--wait", READY)


def apply(*objects: Object) -> None:
    kubectl("apply", "-f=-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def address(namespace: str, name: str) -> str:
    """The address of a Service; this host reaches it through a node."""
    return kubectl(f"-n={namespace}", "get", "service", name, "-o=jsonpath={.spec.clusterIP}")


def workload(kind: str, namespace: str, name: str, container: Object, pod: Object, **spec: Any) -> Object:
    """A Deployment or StatefulSet of one pod with one container.

    A container that requests no processor time gets nearly none while others want all of it: a database would be
    gone for as long as a head starts. A probe has time to be answered then, too.
    """
    container = {"resources": {"requests": {"cpu": "100m"}}, **container}
    container["readinessProbe"] = {"timeoutSeconds": 10, **container["readinessProbe"]}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 5, **pod, "containers": [{"name": name, **container}]},
            },
            **spec,
        },
    }


def service(namespace: str, name: str, port: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [{"port": port}]},
    }


def config_map(namespace: str, name: str, **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }


def _postgresql(image: Image, password: str) -> list[Object]:
    """Debian's PostgreSQL, made anew with one role and one database."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "postgresql", "namespace": NAMESPACE},
        "stringData": {"password": password},
    }
    container = {
        "image": image.reference,
        "env": [
            {"name": "POSTGRES_DB", "value": "headrace"},
            {"name": "POSTGRES_PASSWORD_FILE", "value": "/run/secrets/postgresql/password"},
        ],
        "ports": [{"containerPort": 5432}],
        "readinessProbe": {"exec": {"command": ["pg_isready", "--host=127.0.0.1"]}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "secret", "mountPath": "/run/secrets/postgresql", "readOnly": True},
            {"name": "data", "mountPath": "/data"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    volumes = [
        {"name": "secret", "secret": {"secretName": "postgresql"}},
        {"name": "data", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
    ]
    made = workload("StatefulSet", NAMESPACE, "postgresql", container, {"volumes": volumes}, serviceName="postgresql")
    return [secret, made, service(NAMESPACE, "postgresql", 5432)]


def _ticker(image: Image) -> list[Object]:
    script = (Path(__file__).parents[1] / "stacks" / "ticker.py").read_text()
    container = {
        "image": image.reference,
        "command": ["python", "/scripts/ticker.py"],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/v1/models", "port": 8080}, "periodSeconds": 1},
        "volumeMounts": [{"name": "scripts", "mountPath": "/scripts"}],
    }
    volumes = [{"name": "scripts", "configMap": {"name": "ticker"}}]
    return [
        config_map(NAMESPACE, "ticker", **{"ticker.py": script}),
        workload("Deployment", NAMESPACE, "ticker", container, {"volumes": volumes}),
        service(NAMESPACE, "ticker", 8080),
    ]
