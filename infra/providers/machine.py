"""A host, prepared over SSH as a Kubernetes node. Deleting the resource restores the host."""

from __future__ import annotations

from infra.onprem import machine
from infra.onprem.machine import MachineSpec
from infra.onprem.ssh import REMOVAL_PATIENCE_S, AccessRefused, HostUnreachable, RemoteHost, SshAddress
from infra.resources.resource import Found, Resource, Task, Values


class MachineProvider(Resource):
    """Inputs: the host's SSH address (`infra.onprem.ssh.SshAddress`), its specification
    (`infra.onprem.machine.MachineSpec`), `source` (digest of the bundle), `revision` (of the files that this version
    of Headrace installs).
    """

    replace_on = frozenset({"name", "address", "stack"})

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        with RemoteHost(SshAddress.from_values(new), task) as host:
            machine.prepare(host, MachineSpec.from_values(new))
        return new["name"], new

    def read(self, id: str, old: Values) -> Found:
        try:
            with RemoteHost(SshAddress.from_values(old), Task(lambda words: None)) as host:
                state = machine.host_state(host, MachineSpec.from_values(old))
        except (HostUnreachable, AccessRefused):
            return Found(id, old)  # the host does not answer: assume that nothing has changed
        kept = {name: value for name, value in old.items() if name != "drifted"}
        return Found(id, {**kept, "drifted": True} if state == "drifted" else kept) if state else Found()

    def update(self, id: str, old: Values, new: Values, task: Task) -> Values:
        values = self.create(new, task)[1]
        if old["virtual_ip"] and not new["virtual_ip"]:
            with RemoteHost(SshAddress.from_values(new), task) as host:
                host.run("systemctl disable --quiet --now keepalived")
                machine.restore_file(host, machine.KEEPALIVED)
        return values

    def delete(self, id: str, old: Values, task: Task) -> None:
        """Restores the host. A host that does not answer is left unchanged, with a message."""
        host = RemoteHost(SshAddress.from_values(old), task)
        try:
            host.connect(REMOVAL_PATIENCE_S)
        except HostUnreachable as e:
            task.say(f"{e}\n{old['name']} was not restored: everything installed on it remains")
            return
        with host:
            machine.restore_host(host, old["stack"])
