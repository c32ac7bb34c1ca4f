"""Routes for administration: tenants, users, keys and webhooks."""
