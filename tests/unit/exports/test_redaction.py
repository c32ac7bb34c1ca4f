from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.exports.completion import CapturedMessage, CapturedRating, Rival
from serving.security.keys import new_key
from tests.unit.exports.making import completion

if TYPE_CHECKING:
    from serving.exports.redaction import Redactor

KEY = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIE/a+b=\n-----END RSA PRIVATE KEY-----"


def new_redactor() -> Redactor:
    from serving.exports.redaction import Redactor  # Presidio takes a second to import

    return Redactor()


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return new_redactor()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail a.b+c@ex-ample.co.uk, now", "mail <EMAIL_ADDRESS>, now"),
        ("(jürgen@münchen.de)", "(<EMAIL_ADDRESS>)"),
        ("call +49 30 901820 or (212) 555-0172.", "call <PHONE_NUMBER> or <PHONE_NUMBER>."),
        ("to DE89 3704 0044 0532 0130 00", "to <IBAN_CODE>"),
        ("card 4111 1111 1111 1111 it is", "card <CREDIT_CARD> it is"),
        ("from 10.0.0.1 and 2001:db8::1", "from <IP_ADDRESS> and <IP_ADDRESS>"),
        ("at postgres://me:secret@host/db today", "at <URL_WITH_CREDENTIALS> today"),
        ("AKIAIOSFODNN7EXAMPLE", "<SECRET>"),
        ("ghp_" + "a1" * 18, "<SECRET>"),
        ("hf_" + "a1" * 17, "<SECRET>"),
        ("sk-proj-" + "a1" * 20, "<SECRET>"),
        ("Bearer eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2QT4", "Bearer <SECRET>"),
        ("npm_" + "a1" * 18, "<SECRET>"),
        ("dapi" + "a1" * 16, "<SECRET>"),
        ("hvs." + "a1" * 12, "<SECRET>"),
        ("glrt-" + "a1" * 10, "<SECRET>"),
        ("AGE-SECRET-KEY-1" + "A1" * 20, "<SECRET>"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nabc=\n-----END PGP PRIVATE KEY BLOCK-----", "<SECRET>"),
        ("my password: hunter22", "my <SECRET>"),
        ('{"api_key": "0123456789"}', '{"<SECRET>"}'),
        (f"see {KEY} there", "see <SECRET> there"),
    ],
)
def test_personal_data_and_secrets_are_redacted(redactor: Redactor, text: str, expected: str) -> None:
    assert redactor.text(text) == expected


def test_keys_of_headrace_are_redacted(redactor: Redactor) -> None:
    assert redactor.text(f"it is {new_key()}, or {new_key()}") == "it is <SECRET>, or <SECRET>"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The capital of France is Paris, founded 250 BC.",
        "Order 12345678 of 2024-01-02",
        "not a card: 4111 1111 1111 1112",
        "def f(token): return token",
        "max_tokens=100000, and std::vector",
        "https://example.org/a?b=c@d",
        "the secret of success",
        "hr_short",
        "a@b",
    ],
)
def test_text_without_personal_data_stays(redactor: Redactor, text: str) -> None:
    assert redactor.text(text) == text


def test_every_text_of_a_completion_is_redacted_and_counted() -> None:
    redactor, mail = new_redactor(), "me@example.org"
    rating = CapturedRating("fb", at=1, correction=mail, preferred=True, rival=Rival("r", mail, True))
    one = redactor.redact(
        completion(mail, mail, messages=(CapturedMessage("user", mail),) * 2, ratings=(rating, CapturedRating("b", 1)))
    )
    assert mail not in repr(one)
    assert one.ratings[0].correction == "<EMAIL_ADDRESS>"
    assert redactor.report().replaced == {"EMAIL_ADDRESS": 5}
    assert redactor.redact(completion(messages=None, answer=None)).answer is None


def test_redaction_uses_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert new_redactor().text("me@example.org, +49 30 901820") == "<EMAIL_ADDRESS>, <PHONE_NUMBER>"


@settings(max_examples=50)
@given(before=st.text(max_size=20), after=st.text(max_size=20))
def test_headrace_keys_are_redacted_everywhere(redactor: Redactor, before: str, after: str) -> None:
    key = new_key()
    assert key not in redactor.text(f"{before}{key}{after}")


@pytest.mark.parametrize("unit", ["a@", "1 ", "a.b@", "token", "a://b:", "-----BEGIN PRIVATE KEY-----", "eyJ.", "::1 "])
@pytest.mark.timeout(60)
def test_hostile_texts_end(redactor: Redactor, unit: str) -> None:
    redactor.text(unit * (50_000 // len(unit)))
