"""Azure Kubernetes Service: network, cluster, nodes and storage."""

SDK = "pulumi_azure_native"
"""The Python package that stacks in this cloud need."""
