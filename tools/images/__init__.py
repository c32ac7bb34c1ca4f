"""Container images without an image registry: built on this host, as OCI archives."""
