"""What a strategy is worth: how often it is right, how long it takes, and what it costs."""
