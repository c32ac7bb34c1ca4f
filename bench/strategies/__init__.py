"""The accuracy, duration and cost of reasoning strategies."""
