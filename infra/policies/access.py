"""Rules about permissions and secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.policies.manifest import PlannedResource
from infra.policies.pods import pods
from infra.policies.rule import resource_rule
from infra.policies.values import UNKNOWN, SecretValue, known_fields, known_members, lookup, members, satisfies

SECRET_DATA = "secret-data-is-secret"  # noqa: S105
RBAC = "rbac.authorization.k8s.io"
SENSITIVE = re.compile(r"(PASSWORD|PASSPHRASE|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|CREDENTIAL|ACCESS_?KEY)")
NOT_SENSITIVE = re.compile(r"(_PATH|_FILE|_MODE|_URL|_NAME|_DIR|_TTL|_SECONDS|_DIGEST)$")
KEY_MATERIAL = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:hr_[\w-]{43}|hf_[A-Za-z0-9]{30,}|sk-[\w-]{20,}|AKIA[A-Z0-9]{16}|ghp_[A-Za-z0-9]{36})(?![\w-])"
)


@resource_rule(
    "no-wildcard-rights",
    "No role has permissions for everything.",
    "List the API groups, resources and verbs that are needed instead of `*`.",
)
def _wildcards(resource: PlannedResource) -> Iterator[str]:
    if not resource.is_a(RBAC, "Role", "ClusterRole"):
        return
    for i, rule in enumerate(members(lookup(resource.props, "rules"))):
        for key in ("verbs", "resources", "apiGroups", "nonResourceURLs"):
            if "*" in list(known_members(lookup(rule, key))):
                yield f"rules[{i}].{key} is *"


@resource_rule(
    "no-cluster-admin",
    "Nobody is bound to cluster-admin.",
    "Bind a role that has only the permissions that are needed.",
)
def _cluster_admin(resource: PlannedResource) -> Iterator[str]:
    if resource.is_a(RBAC, "ClusterRoleBinding", "RoleBinding"):
        name = lookup(resource.props, "roleRef", "name")
        if name in ("cluster-admin", "admin") or name == "system:masters":
            yield f"binds the role {name}"
        for subject in known_members(lookup(resource.props, "subjects")):
            if lookup(subject, "name") in ("system:masters", "system:unauthenticated", "system:anonymous"):
                yield f"binds {lookup(subject, 'name')}"


@resource_rule(
    "no-token-automount",
    "No pod gets a token for the Kubernetes API that it does not need.",
    "Set `automountServiceAccountToken: false` in the pod and in the ServiceAccount. A pod that calls the API needs an "
    "exception, or a projected volume with a token that expires.",
)
def _automount(resource: PlannedResource) -> Iterator[str]:
    if resource.is_a("", "ServiceAccount") and not _disables_automount(resource.props):
        yield "the ServiceAccount's token is mounted into its pods"
    for pod in pods(resource):
        if pod.sets_identity and not _disables_automount(pod.spec):
            yield f"{pod.path} mounts the token of its ServiceAccount"


def _disables_automount(holder: Any) -> bool:
    return satisfies(lookup(holder, "automountServiceAccountToken"), lambda v: v is False)


@resource_rule(
    "own-service-account",
    "Every pod has its own ServiceAccount.",
    "Create a ServiceAccount and set `serviceAccountName`; all pods of the namespace share the account `default`.",
)
def _service_account(resource: PlannedResource) -> Iterator[str]:
    for pod in pods(resource):
        if pod.sets_identity and not satisfies(lookup(pod.spec, "serviceAccountName"), lambda n: n and n != "default"):
            yield f"{pod.path} uses the ServiceAccount default"


def plain_secret_data(resource: PlannedResource) -> Iterator[tuple[str, str]]:
    """Yields the fields and keys of a Secret whose values are not marked as secrets in Pulumi."""
    if not resource.marks_secrets or not resource.is_a("", "Secret"):
        return
    for field in ("data", "stringData"):
        data = resource.props.get(field)
        if isinstance(data, Mapping):
            yield from ((field, str(k)) for k, v in data.items() if not isinstance(v, SecretValue) and v is not UNKNOWN)


@resource_rule(
    SECRET_DATA,
    "The values of a Secret are secrets in Pulumi.",
    "Pass the value as `pulumi.Output.secret(...)` or from `config.require_secret(...)`; otherwise it is in the state "
    "in plain text. During a preview or update the policy pack encrypts it and reports it.",
)
def _secret_data(resource: PlannedResource) -> Iterator[str]:
    for field, key in plain_secret_data(resource):
        yield f"{field}.{key} is plain text"


@resource_rule(
    "no-secret-in-environment",
    "No container gets a secret in its environment.",
    "Mount the Secret as a file and pass the file's path; environment variables are visible in `kubectl exec`, crash "
    "reports and child processes.",
)
def _environment(resource: PlannedResource) -> Iterator[str]:
    for pod in pods(resource):
        for container in pod.containers:
            for variable in known_members(lookup(container.spec, "env")):
                name, value = lookup(variable, "name"), lookup(variable, "value")
                if lookup(variable, "valueFrom", "secretKeyRef") not in (None, UNKNOWN):
                    yield f"{container.name} gets {_display_name(name)} from a Secret"
                elif _is_sensitive(name) and isinstance(value, str) and value:
                    yield f"{container.name} has the value of {name} in plain text"
            for source in known_members(lookup(container.spec, "envFrom")):
                if lookup(source, "secretRef") not in (None, UNKNOWN):
                    yield f"{container.name} gets the whole Secret {_display_name(lookup(source, 'secretRef', 'name'))}"


def _display_name(value: Any) -> str:
    return value if isinstance(value, str) else "a variable"


def _is_sensitive(name: Any) -> bool:
    return isinstance(name, str) and bool(SENSITIVE.search(name.upper())) and not NOT_SENSITIVE.search(name.upper())


@resource_rule(
    "no-secret-in-config",
    "No key is in a ConfigMap, in arguments or in the environment.",
    "Move it to a Secret and pass a reference (`file:/path`).",
)
def _config(resource: PlannedResource) -> Iterator[str]:
    if resource.is_a("", "ConfigMap"):
        for key, value in known_fields(lookup(resource.props, "data")):
            if _holds_key(value):
                yield f"data.{key} holds a key"
    for pod in pods(resource):
        for container in pod.containers:
            arguments = [v for part in ("command", "args") for v in known_members(lookup(container.spec, part))]
            values = [lookup(v, "value") for v in known_members(lookup(container.spec, "env"))]
            if any(map(_holds_key, [*arguments, *values])):
                yield f"{container.name} holds a key"


def _holds_key(value: Any) -> bool:
    return isinstance(value, str) and bool(KEY_MATERIAL.search(value))
