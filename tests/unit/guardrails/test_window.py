"""A stream says after its checks what the whole text would, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving.config import GuardAction
from serving.guardrails.rules.links import Links
from serving.guardrails.rules.pii import PersonalInformation
from serving.guardrails.rules.secrets import Secrets
from serving.guardrails.rules.words import Words
from serving.guardrails.screen import Rule, screen
from serving.guardrails.window import HOLD, Window

KEY = "sk-proj-" + "aB3dE5gH7jK9" * 5
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dBjftJeZ4CVP" * 30
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEA7x\n" * 60 + "-----END RSA PRIVATE KEY-----"
PLANTED = {
    "key": KEY,
    "token": TOKEN,
    "pem": PEM,
    "own": "hr_" + "Zq8" * 14 + "A",
    "card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00",
    "mail": "jane.doe@example.com",
    "password": "correct7horse9staple",
    "link": "https://evil.example.net/p?d=" + "c2VjcmV0IGRhdGE" * 40,
    "phrase": "Project Bluebird",
}
FORMS = {"password": "password: {}", "link": "![x]({})"}
RULES = (
    Secrets(),
    PersonalInformation(("email", "iban", "card", "phone")),
    Links(("ok.example",), 64),
    Words(("project bluebird",)),
)


def rules(action: GuardAction = "redact"):
    return tuple(
        Rule(name, action, check) for name, check in zip(("secrets", "pii", "links", "topics"), RULES, strict=True)
    )


def streamed(text, cuts, checks):
    window, out, found, at = Window(checks), "", [], 0
    for size in cuts:
        result = window.feed(text[at : at + size])
        out, at = out + result.text, at + size
        found += result.found
    for result in (window.feed(text[at:]), window.end()):
        out += result.text
        found += result.found
    return out, found, window.blocked


filler = st.one_of(
    st.sampled_from(
        [
            " ",
            "\n",
            "the sea is deep. ",
            "x = 1; ",
            "<b>",
            "[1]: ",
            "](",
            "password",
            "http",
            "\u200b",
            "é",
            "@",
            "-----",
            "4111 ",
        ]
    ),
    st.text(alphabet="ab1 .:/@-<>()[]!\n", max_size=12),
    st.integers(50, 400).map(lambda n: "words and more " * (n // 15)),
)
planted = st.sampled_from(sorted(PLANTED)).map(lambda name: " " + FORMS.get(name, "{}").format(PLANTED[name]) + " ")
texts = st.lists(st.one_of(filler, filler, planted), max_size=9).map("".join)
cuts = st.lists(st.integers(1, 300), max_size=40)


@settings(max_examples=80)
@given(text=texts, cuts=cuts, action=st.sampled_from(["redact", "block", "flag"]))
@example(text="a" * 300 + " password: " + "correct7horse9staple " + "b" * 600, cuts=[64] * 20, action="redact")
@example(
    text="x" * 200 + "<img " + "y" * 300 + " src=https://evil.example/a>" + "z" * 400, cuts=[70] * 12, action="redact"
)
def test_streamed_and_whole_texts_give_the_same_result(text, cuts, action):
    whole = screen(text, rules(action))
    out, found, blocked = streamed(text, cuts, rules(action))
    assert out == whole.text
    assert blocked == whole.blocked
    if not blocked:
        told = sorted((f.finding.start, f.finding.end, f.finding.kind) for f in found)
        assert told == sorted((f.finding.start, f.finding.end, f.finding.kind) for f in whole.found)


@settings(max_examples=40)
@given(before=st.lists(filler, max_size=4).map("".join), name=st.sampled_from(sorted(PLANTED)), cuts=cuts)
def test_redacted_text_is_never_emitted(before, name, cuts):
    secret = PLANTED[name]
    text = f"{before} , {FORMS.get(name, '{}').format(secret)} , the end. " + "and so on " * 60
    out, _, _ = streamed(text, cuts, rules())
    assert secret not in out
    for i in range(0, len(secret) - 8, 8):
        piece = secret[i : i + 8]
        assert out.count(piece) <= text.replace(secret, "").count(piece)


@pytest.mark.parametrize("length", [HOLD, HOLD + 1, 1000])
def test_text_without_findings_is_held_back_no_longer_than_it_must(length):
    window = Window(rules())
    out = "".join(window.feed("plain words ").text for _ in range(length // 12))
    assert len(out) >= length - HOLD - 80


def test_a_window_keeps_little_of_a_long_text():
    window = Window(rules())
    for _ in range(2000):
        window.feed("plain words and more ")
    assert len(window._text) < 2 * HOLD


def test_nothing_is_emitted_after_a_block():
    window = Window(rules("block"))
    said = window.feed("So: " + KEY + " x" * 200).text
    assert said == "So: "
    assert window.blocked
    assert window.feed("more").text == "" == window.end().text
