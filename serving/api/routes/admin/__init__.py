"""Routes of administration: tenants, their users, keys and webhooks."""
