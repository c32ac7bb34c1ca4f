"""Commands behind `make`: stacks, binaries, container images, the test cluster, locks and reference pages."""
