"""The policy pack: rules for resources, the same for a preview, a mocked plan and rendered manifests."""
