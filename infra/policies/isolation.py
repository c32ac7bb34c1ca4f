"""Rules about what a container may do on its node: the restricted Pod Security Standard, and a little more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from infra.policies.manifest import Resource
from infra.policies.pods import Container, Pod, pods
from infra.policies.rule import resource_rule
from infra.policies.values import at, each, holds, some, unknown

HOST_NAMESPACES = ("hostNetwork", "hostPID", "hostIPC")


def _containers(resource: Resource) -> Iterator[tuple[Pod, Container]]:
    for pod in pods(resource):
        for container in pod.containers:
            # A runtime's container has its own security context.
            if container.given or at(container.spec, "securityContext") is not None:
                yield pod, container


def _either(pod: Pod, container: Container, *path: str) -> object:
    """A setting of the container's security context, else of the pod's."""
    own = at(container.spec, "securityContext", *path)
    return at(pod.spec, "securityContext", *path) if own is None else own


@resource_rule(
    "non-root",
    "Every container runs as a user that is not root.",
    "Set `runAsNonRoot: true` in the security context of the pod or container, and no `runAsUser: 0`.",
)
def _non_root(resource: Resource) -> Iterator[str]:
    for pod, container in _containers(resource):
        if not holds(_either(pod, container, "runAsNonRoot"), lambda v: v is True):
            yield f"{container.name} may run as root"
        elif _either(pod, container, "runAsUser") == 0:
            yield f"{container.name} runs as user 0"


@resource_rule(
    "read-only-root",
    "Every container's root file system is read-only.",
    "Set `securityContext.readOnlyRootFilesystem: true` and mount an `emptyDir` where the program must write.",
)
def _read_only(resource: Resource) -> Iterator[str]:
    for _, container in _containers(resource):
        if not holds(at(container.spec, "securityContext", "readOnlyRootFilesystem"), lambda v: v is True):
            yield f"{container.name} can write to its root file system"


@resource_rule(
    "capabilities-dropped",
    "Every container drops all capabilities.",
    "Set `securityContext.capabilities.drop: [ALL]`; only `NET_BIND_SERVICE` may be added.",
)
def _capabilities(resource: Resource) -> Iterator[str]:
    for _, container in _containers(resource):
        capabilities = at(container.spec, "securityContext", "capabilities")
        if not some(at(capabilities, "drop"), lambda c: c == "ALL"):
            yield f"{container.name} keeps capabilities"
        for added in each(at(capabilities, "add")):
            if added != "NET_BIND_SERVICE":
                yield f"{container.name} adds the capability {added}"


@resource_rule(
    "seccomp",
    "Every container's system calls are filtered.",
    "Set `seccompProfile: {type: RuntimeDefault}` in the security context of the pod or container.",
)
def _seccomp(resource: Resource) -> Iterator[str]:
    for pod, container in _containers(resource):
        kind = _either(pod, container, "seccompProfile", "type")
        if not holds(kind, lambda t: t in ("RuntimeDefault", "Localhost")):
            yield f"{container.name} has no seccomp profile"


@resource_rule(
    "no-privilege-escalation",
    "No container is privileged or can become so.",
    "Set `securityContext.allowPrivilegeEscalation: false` and no `privileged: true`.",
)
def _escalation(resource: Resource) -> Iterator[str]:
    for _, container in _containers(resource):
        context = at(container.spec, "securityContext")
        if at(context, "privileged") is True:
            yield f"{container.name} is privileged"
        if not holds(at(context, "allowPrivilegeEscalation"), lambda v: v is False):
            yield f"{container.name} can gain privileges"


@resource_rule(
    "no-host-access",
    "No pod shares namespaces, ports or folders with its node.",
    "Leave out `hostNetwork`, `hostPID`, `hostIPC`, `hostPort` and volumes of type `hostPath`.",
)
def _host(resource: Resource) -> Iterator[str]:
    for pod in pods(resource):
        for key in HOST_NAMESPACES:
            if at(pod.spec, key) is True:
                yield f"{pod.path} sets {key}"
        for volume in each(at(pod.spec, "volumes")):
            if isinstance(volume, Mapping) and "hostPath" in volume:
                yield f"{pod.path} mounts the host's {_shown(at(volume, 'hostPath', 'path'))}"
        for container in pod.containers:
            for port in each(at(container.spec, "ports")):
                if not holds(at(port, "hostPort"), lambda p: not p):
                    yield f"{container.name} takes the host's port {at(port, 'hostPort')}"


def _shown(value: object) -> object:
    return "(not known yet)" if unknown(value) else value


@resource_rule(
    "pod-security-label",
    "Every namespace enforces a Pod Security Standard.",
    "Set the label `pod-security.kubernetes.io/enforce: restricted` (or `baseline`) on the namespace.",
)
def _pod_security(resource: Resource) -> Iterator[str]:
    if resource.is_a("", "Namespace"):
        enforced = at(resource.labels, "pod-security.kubernetes.io/enforce")
        if not holds(enforced, lambda e: e in ("restricted", "baseline")):
            yield f"the namespace enforces {enforced or 'no Pod Security Standard'}"
