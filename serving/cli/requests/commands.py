"""`headrace requests`."""

from __future__ import annotations

import datetime
import json as encoding
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from serving.cli.client import Stack, StackRefused
from serving.cli.options import as_json, of_tenant
from serving.cli.output import show
from serving.cli.path import segment
from serving.cli.requests.sheet import lines

DAY_S = 86400
TRACE = "{trace_id}"


@click.group()
def requests() -> None:
    """Shows what is known of a request. Requires a key with the scope operate."""


@requests.command(
    "show", epilog="Example: headrace requests show chatcmpl-5f0c… --log headrace_headrace_Gateway_x1.log"
)
@click.argument("id")
@click.option(
    "--day",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DAY",
    help="The day of a request, UTC, if ID is a request's; by default any.",
)
@click.option(
    "--log",
    "logs",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="A gateway's log, - for standard input; repeatable. It adds what only the log has.",
)
@click.option(
    "--trace-url",
    envvar="HEADRACE_TRACE_URL",
    metavar="URL",
    help=f"The address of a trace, with {TRACE} in it; by default HEADRACE_TRACE_URL.",
)
@of_tenant
@as_json
@click.pass_obj
def show_(
    stack: Stack,
    id: str,
    day: datetime.datetime | None,
    logs: tuple[Path, ...],
    trace_url: str | None,
    tenant: str | None,
    json: bool,
) -> None:
    """Shows one request: its route, times, tokens and cost, and where its trace and its texts are.

    ID is the x-request-id of an answer, or the id in it. Texts are not shown.
    """
    if trace_url is not None and TRACE not in trace_url:
        raise click.UsageError(f"--trace-url must contain {TRACE}.")
    start = int(day.replace(tzinfo=datetime.UTC).timestamp()) if day is not None else None
    end = start + DAY_S if start is not None else None
    missing: StackRefused | None = None
    try:
        found = stack.get(f"/admin/requests/{segment(id)}", start=start, end=end, tenant=tenant)
    except StackRefused as e:
        if e.status != 404 or e.param == "tenant" or not logs:
            raise
        missing, found = e, {"object": "request", "id": id, "answers": []}
    answers = found.get("answers")
    if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
        raise click.ClickException("The stack did not return a request: is it a stack?")
    logged = [line for log in logs for line in _lines_of(log, id, answers) if tenant in (None, line.get("tenant"))]
    if missing is not None:
        if not logged:
            raise missing
        click.echo(f"Only the log has it: {missing.format_message()}", err=True)
    if json:
        show({**found, "log": logged} if logs else found, (), json=True)
        return
    if found.get("has_more"):
        click.echo("More answers have this request's id: these are the newest. Name an answer's id.", err=True)
    for number, (answer, line) in enumerate(_pairs(answers, logged)):
        if number:
            click.echo()
        for text in lines(answer, line, trace_url):
            click.echo(text)


def _lines_of(log: Path, id: str, answers: Collection[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields the lines of the answers, and those of requests with this id.

    Callers choose the ids of requests, so a line of another answer with the same one is another request's.
    """
    ids = {id, *(answer["id"] for answer in answers if isinstance(answer.get("id"), str))}

    def fits(line: Mapping[str, Any]) -> bool:
        answer = line.get("answer_id")
        return line.get("request_id") == id or (isinstance(answer, str) and answer in ids)

    with click.open_file(str(log), encoding="utf-8", errors="replace") as file:
        for text in file:
            if any(each in text for each in ids):
                try:
                    line = encoding.loads(text)
                except ValueError:
                    continue
                if isinstance(line, dict) and line.get("message") == "request" and fits(line):
                    yield line


def _pairs(
    answers: list[dict[str, Any]], logged: list[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any] | None, dict[str, Any] | None]]:
    """Yields each answer with its line of the log, then the lines without an answer."""
    by_answer = {line.get("answer_id"): line for line in logged}
    for answer in answers:
        yield answer, by_answer.get(answer.get("id"))
    known = {answer.get("id") for answer in answers}
    yield from ((None, line) for line in logged if line.get("answer_id") not in known)
