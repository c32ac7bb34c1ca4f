"""`headrace requests`: what is known of one request."""
