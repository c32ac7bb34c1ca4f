"""Amazon EKS: network, cluster, nodes, bucket and roles."""

SDK = "pulumi_aws"
"""The Python package that stacks in this cloud need."""
