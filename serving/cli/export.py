"""`headrace export`."""

from __future__ import annotations

import click

from serving.core.signals import end_at_term


@click.command(
    add_help_option=False,  # the help text is that of the program that it runs
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Example: headrace export --format trl-preference --out pairs --tenant acme",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def export(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Writes feedback as training data, with the ARGUMENTS of `python -m serving.store export`.

    Unlike the other commands it reads the database, on the host where it runs, and needs no API key.
    """
    from serving.store.__main__ import main  # importing it takes longer than any other command takes

    end_at_term()
    context.exit(main(["export", *arguments]))
