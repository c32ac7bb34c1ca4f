"""The client of a stack's API, as `pip install headrace` brings it with the command `headrace`.

For answers, use a client of OpenAI's; this one is for what OpenAI's API lacks: tenants, keys, quotas, usage, the hub.
"""

from serving.cli.client import Stack, StackRefused

__all__ = ["Stack", "StackRefused", "connect"]


def connect(url: str, key: str) -> Stack:
    """Returns a client of the stack at `url`, such as `https://llm.example.com`, with an API key; it asks nothing yet.

    Each failure is a `click.ClickException`, whose `message` is one line; a refusal by the stack is a `StackRefused`.
    """
    return Stack(url, lambda: key)
