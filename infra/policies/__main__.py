"""What `pulumi preview --policy-pack infra/policies` runs."""

import sys
from pathlib import Path

# Python put this folder in front, from where its modules would hide others; the checkout must be there instead.
sys.path[0] = str(Path(__file__).resolve().parents[2])

from pulumi_policy import PolicyPack  # noqa: E402

from infra.policies.pack import NAME, policies  # noqa: E402

PolicyPack(NAME, policies())
