"""Google Kubernetes Engine: cluster, nodes and bucket."""

SDK = "pulumi_gcp"
"""The Python package that stacks in this cloud need."""
