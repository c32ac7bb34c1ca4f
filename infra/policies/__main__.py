"""Entry point of `pulumi preview --policy-pack infra/policies`."""

import sys
from pathlib import Path

# Python puts this folder first on the path, where its modules would shadow others; the checkout must replace it.
sys.path[0] = str(Path(__file__).resolve().parents[2])

from pulumi_policy import PolicyPack  # noqa: E402

from infra.policies.pack import NAME, policies  # noqa: E402

PolicyPack(NAME, policies())
