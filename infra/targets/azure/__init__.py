"""Azure Kubernetes Service: network, cluster, nodes and storage."""
