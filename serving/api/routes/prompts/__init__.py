"""`/v1/prompts`: prompts that tenants store, with versions that never change and labels that move between them."""
