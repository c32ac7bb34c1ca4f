"""Google Kubernetes Engine: cluster, nodes and bucket."""
