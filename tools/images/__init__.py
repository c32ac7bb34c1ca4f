"""Container images without an image registry: built on this host, handed over as OCI archives."""
