"""The policy pack: rules over plain objects, the same for a preview, a mocked plan and rendered manifests."""
