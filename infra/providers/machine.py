"""A host of yours, made ready to be a node of Kubernetes over SSH; deleting it makes the host what it was."""

from __future__ import annotations

from infra.onprem import machine
from infra.onprem.machine import Wanted
from infra.onprem.ssh import LOST_S, Address, Refused, Remote, Unreachable
from infra.providers.resource import Found, Resource, Task, Values


class Machine(Resource):
    """Inputs: how SSH reaches it (`infra.onprem.ssh.Address`), what it is to be (`infra.onprem.machine.Wanted`),
    `source` (digest of the bundle), `revision` (of the files that this version of Headrace writes).
    """

    replace_on = frozenset({"name", "address", "stack"})

    def create(self, new: Values, task: Task) -> tuple[str, Values]:
        with Remote(Address.of(new), task) as host:
            machine.prepare(host, Wanted.of(new))
        return new["name"], new

    def read(self, id: str, old: Values) -> Found:
        try:
            with Remote(Address.of(old), Task(lambda words: None)) as host:
                state = machine.state(host, Wanted.of(old))
        except (Unreachable, Refused):
            return Found(id, old)  # what is on it shows when it answers again
        kept = {name: value for name, value in old.items() if name != "drifted"}
        return Found(id, {**kept, "drifted": True} if state == "drifted" else kept) if state else Found()

    def update(self, id: str, old: Values, new: Values, task: Task) -> Values:
        values = self.create(new, task)[1]
        if old["virtual_ip"] and not new["virtual_ip"]:
            with Remote(Address.of(new), task) as host:
                host.run("systemctl disable --quiet --now keepalived")
                machine.restore(host, machine.KEEPALIVED)
        return values

    def delete(self, id: str, old: Values, task: Task) -> None:
        """A host that does not answer is left as it is, which is said."""
        host = Remote(Address.of(old), task)
        try:
            host.connect(LOST_S)
        except Unreachable as e:
            task.say(f"{e}\n{old['name']} keeps what was installed on it")
            return
        with host:
            machine.undo(host, old["stack"])
