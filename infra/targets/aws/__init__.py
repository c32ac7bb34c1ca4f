"""Amazon EKS: network, cluster, nodes, bucket and roles."""
