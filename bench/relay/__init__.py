"""What the gateway costs: streams through Headrace and through its peers, over one scripted upstream."""
