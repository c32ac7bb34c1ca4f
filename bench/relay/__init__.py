"""The overhead of the gateway: streams through Headrace and through its peers, over one scripted upstream."""
