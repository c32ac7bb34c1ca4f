"""Stacks with node pools whose GPUs NVIDIA's device plugin advertises."""

from __future__ import annotations

from typing import Any

from infra.config import StackConfig

TEAM = {"key": "team", "value": "search", "effect": "NoExecute"}
"""A taint of one's own."""

L4 = {"accelerator": "l4", "gpus": 4}

AWS = StackConfig.model_validate(
    {
        "target": "aws",
        "aws": {"account": "123456789012", "region": "eu-west-1"},
        "image": {"tag": "1"},
        "node_pools": [
            {"name": "cpu"},
            {"name": "default", **L4},
            {"name": "sliced", **L4, "sharing": {"kind": "time_slicing", "replicas": 4}, "taints": [TEAM]},
            {"name": "mps", **L4, "sharing": {"kind": "mps", "replicas": 4}},
        ],
        "pools": [{"name": "serving"}, {"name": "gpu", "gpus": 1, "node_pool": "default"}],
    }
)
"""Amazon Linux 2023: the image has the driver. L4s, whole, time-sliced and shared by MPS."""

AZURE = StackConfig.model_validate(
    {
        "target": "azure",
        "azure": {"subscription": "00000000-0000-0000-0000-000000000001", "location": "westeurope"},
        "image": {"tag": "1"},
        "node_pools": [
            {"name": "cpu"},
            {"name": "whole", "accelerator": "h100-80gb", "gpus": 8, "capacity": "spot", "taints": [TEAM]},
            {
                "name": "slices",
                "accelerator": "a100-80gb-pcie",
                "gpus": 1,
                "sharing": {"kind": "mig", "profile": "1g.10gb"},
            },
        ],
        "pools": [{"name": "serving"}, {"name": "gpu", "gpus": 1, "node_pool": "whole"}],
    }
)
"""AKS installs the driver. H100s on spot nodes, and A100s in MIG slices."""


def _host(name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "address": "192.0.2.1", **settings}


ONPREM = StackConfig.model_validate(
    {
        "target": "onprem",
        "onprem": {
            "hosts": [
                _host("cp", role="control_plane"),
                _host("gpu", pool="gpu", gpus=2, accelerator="l4", taints=[TEAM]),
            ],
            "bundle": "bundle",
        },
        "image": {"tag": "1"},
        "pools": [{"name": "serving"}, {"name": "gpu", "gpus": 1, "node_pool": "gpu"}],
    }
)
"""Hosts whose owner has installed the driver."""
