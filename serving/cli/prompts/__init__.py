"""`headrace prompts`: stored prompts with versions and labels."""
