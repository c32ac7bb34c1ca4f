"""The Pulumi provider `headrace` and its resources: secrets, processes, Ray, Serve, knowledge, hosts and nodes."""
