"""Prometheus's configuration for a stack without Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

INTERVAL_S = 5


def scrape_config(targets: Mapping[str, str], rule_files: Sequence[str] = ()) -> str:
    """Returns Prometheus's configuration file; `targets` maps a job's name to its `host:port`.

    `rule_files` are paths, absolute or from the configuration's folder.
    """
    rules = {"rule_files": list(rule_files)} if rule_files else {}
    return yaml.safe_dump(
        {
            "global": {"scrape_interval": f"{INTERVAL_S}s", "evaluation_interval": f"{INTERVAL_S}s"},
            **rules,
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [address]}]}
                for job, address in sorted(targets.items())
            ],
        },
        sort_keys=False,
    )
