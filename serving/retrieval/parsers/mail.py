"""Messages: `.eml` by Python's own parser, Outlook's `.msg` by oxmsg. Attachments are listed by name, but not read."""

from __future__ import annotations

import io
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart
from typing import Any

from oxmsg import Message

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parsers import html
from serving.retrieval.parsers.plain import add_paragraphs
from serving.retrieval.types import Document

_SHOWN = ("From", "To", "Cc", "Date")
_FORWARDED = 5
"""Maximum depth of forwarded messages within a message."""


def parse_eml(data: bytes, name: str, bounds: ChunkBounds) -> Document:
    message = message_from_bytes(data, policy=policy.default)
    assert isinstance(message, EmailMessage)
    if not any(header in message for header in ("From", "To", "Subject", "Date", "Received", "MIME-Version")):
        raise UnreadableDocument("damaged", "the message has no headers")
    builder = DocumentBuilder("eml", bounds)
    _add(message, builder, 0)
    return builder.build(name)


def parse_msg(data: bytes, name: str, bounds: ChunkBounds) -> Document:
    builder = DocumentBuilder("msg", bounds)
    message = Message.load(io.BytesIO(data))
    builder.heading(message.subject or "", 1)
    shown = {"From": message.sender, "To": ", ".join(filter(None, map(_recipient, message.recipients)))}
    if message.sent_date is not None:
        shown["Date"] = message.sent_date.isoformat(" ")
    attached = [each.file_name or "" for each in message.attachments]
    body, page = message.body, message.html_body
    _add_headers(builder, shown, attached)
    if body and body.strip():
        add_paragraphs(builder, body)
    elif page:
        html.add_page(builder, page)
    return builder.build(name)


def _recipient(recipient: Any) -> str:
    name, address = recipient.name or "", recipient.email_address or ""
    return f"{name} <{address}>" if name and address and name != address else name or address


def _add(message: EmailMessage, builder: DocumentBuilder, depth: int) -> None:
    builder.heading(_header(message, "Subject"), depth + 1)
    attached: list[str] = []
    forwarded: list[EmailMessage] = []
    for part in message.iter_attachments() if message.is_multipart() else ():
        if part.get_content_type() == "message/rfc822" and depth < _FORWARDED:
            forwarded += [each for each in part.get_payload() if isinstance(each, EmailMessage)]
        else:
            attached.append(part.get_filename() or "")
    _add_headers(builder, {name: _header(message, name) for name in _SHOWN}, attached)
    body = message.get_body(("plain", "html"))
    if body is not None:
        text = _text(body)
        if body.get_content_subtype() == "html":
            html.add_page(builder, text)
        else:
            add_paragraphs(builder, text)
    for each in forwarded:
        _add(each, builder, depth + 1)


def _header(message: EmailMessage, name: str) -> str:
    try:
        return str(message.get(name, ""))
    except (ValueError, LookupError, TypeError, AttributeError):  # a non-standard header
        return ""


def _text(part: MIMEPart) -> str:
    """Decodes a part; bytes that do not match the character set are replaced."""
    content = part.get_payload(decode=True)
    data = content if isinstance(content, bytes) else b""
    try:
        return data.decode(part.get_content_charset("utf-8"), "replace")
    except (LookupError, ValueError):
        return data.decode("utf-8", "replace")


def _add_headers(builder: DocumentBuilder, shown: dict[str, str | None], attached: list[str]) -> None:
    named = ", ".join(filter(None, attached))
    builder.add("\n".join(f"{name}: {value}" for name, value in {**shown, "Attachments": named}.items() if value))
