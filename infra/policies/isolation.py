"""Rules about what a container may do on its node: the restricted Pod Security Standard and more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from infra.policies.manifest import PlannedResource
from infra.policies.pods import Container, Pod, pods
from infra.policies.rule import resource_rule
from infra.policies.values import any_member, any_unknown, known_members, lookup, satisfies

HOST_NAMESPACES = ("hostNetwork", "hostPID", "hostIPC")


def _configured_containers(resource: PlannedResource) -> Iterator[tuple[Pod, Container]]:
    for pod in pods(resource):
        for container in pod.containers:
            # A container completed by a ServingRuntime gets its security context from there.
            if container.complete or lookup(container.spec, "securityContext") is not None:
                yield pod, container


def _security_setting(pod: Pod, container: Container, *path: str) -> object:
    """Returns a setting of the container's security context, or else of the pod's."""
    own = lookup(container.spec, "securityContext", *path)
    return lookup(pod.spec, "securityContext", *path) if own is None else own


@resource_rule(
    "non-root",
    "No container runs as root.",
    "Set `runAsNonRoot: true` in the security context of the pod or container, and no `runAsUser: 0`.",
)
def _non_root(resource: PlannedResource) -> Iterator[str]:
    for pod, container in _configured_containers(resource):
        if not satisfies(_security_setting(pod, container, "runAsNonRoot"), lambda v: v is True):
            yield f"{container.name} may run as root"
        elif _security_setting(pod, container, "runAsUser") == 0:
            yield f"{container.name} runs as user 0"


@resource_rule(
    "read-only-root",
    "The root file system of every container is read-only.",
    "Set `securityContext.readOnlyRootFilesystem: true` and mount an `emptyDir` where the program writes files.",
)
def _read_only(resource: PlannedResource) -> Iterator[str]:
    for _, container in _configured_containers(resource):
        if not satisfies(lookup(container.spec, "securityContext", "readOnlyRootFilesystem"), lambda v: v is True):
            yield f"{container.name} can write to its root file system"


@resource_rule(
    "capabilities-dropped",
    "Every container drops all capabilities.",
    "Set `securityContext.capabilities.drop: [ALL]`; only `NET_BIND_SERVICE` may be added.",
)
def _capabilities(resource: PlannedResource) -> Iterator[str]:
    for _, container in _configured_containers(resource):
        capabilities = lookup(container.spec, "securityContext", "capabilities")
        if not any_member(lookup(capabilities, "drop"), lambda c: c == "ALL"):
            yield f"{container.name} keeps capabilities"
        for added in known_members(lookup(capabilities, "add")):
            if added != "NET_BIND_SERVICE":
                yield f"{container.name} adds the capability {added}"


@resource_rule(
    "seccomp",
    "Every container has a seccomp profile.",
    "Set `seccompProfile: {type: RuntimeDefault}` in the security context of the pod or container.",
)
def _seccomp(resource: PlannedResource) -> Iterator[str]:
    for pod, container in _configured_containers(resource):
        kind = _security_setting(pod, container, "seccompProfile", "type")
        if not satisfies(kind, lambda t: t in ("RuntimeDefault", "Localhost")):
            yield f"{container.name} has no seccomp profile"


@resource_rule(
    "no-privilege-escalation",
    "No container is privileged or can gain privileges.",
    "Set `securityContext.allowPrivilegeEscalation: false` and no `privileged: true`.",
)
def _escalation(resource: PlannedResource) -> Iterator[str]:
    for _, container in _configured_containers(resource):
        context = lookup(container.spec, "securityContext")
        if lookup(context, "privileged") is True:
            yield f"{container.name} is privileged"
        if not satisfies(lookup(context, "allowPrivilegeEscalation"), lambda v: v is False):
            yield f"{container.name} can gain privileges"


@resource_rule(
    "no-host-access",
    "No pod shares namespaces, ports or folders with its node.",
    "Remove `hostNetwork`, `hostPID`, `hostIPC`, `hostPort` and volumes of type `hostPath`.",
)
def _host(resource: PlannedResource) -> Iterator[str]:
    for pod in pods(resource):
        for key in HOST_NAMESPACES:
            if lookup(pod.spec, key) is True:
                yield f"{pod.path} sets {key}"
        for volume in known_members(lookup(pod.spec, "volumes")):
            if isinstance(volume, Mapping) and "hostPath" in volume:
                yield f"{pod.path} mounts the host's {_display_value(lookup(volume, 'hostPath', 'path'))}"
        for container in pod.containers:
            for port in known_members(lookup(container.spec, "ports")):
                if not satisfies(lookup(port, "hostPort"), lambda p: not p):
                    yield f"{container.name} uses the host's port {lookup(port, 'hostPort')}"


def _display_value(value: object) -> object:
    return "(not known yet)" if any_unknown(value) else value


@resource_rule(
    "pod-security-label",
    "Every namespace enforces a Pod Security Standard.",
    "Set the label `pod-security.kubernetes.io/enforce: restricted` (or `baseline`) on the namespace.",
)
def _pod_security(resource: PlannedResource) -> Iterator[str]:
    if resource.is_a("", "Namespace"):
        enforced = lookup(resource.labels, "pod-security.kubernetes.io/enforce")
        if not satisfies(enforced, lambda e: e in ("restricted", "baseline")):
            yield f"the namespace enforces {enforced or 'no Pod Security Standard'}"
