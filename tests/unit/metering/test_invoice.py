"""Invoices: exact sums, one order, and no formulas."""

from __future__ import annotations

import csv
import io
import random
import re
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.metering.invoice import InvoiceLine, cell, invoice, totals

LINES = [
    InvoiceLine("acme", "bob", "large", 2, 1000, 500, (("EUR", Decimal("0.000000001")), ("USD", Decimal("12.5")))),
    InvoiceLine("acme", "ada", "large", 3, 2_000_000, 1_000_000, (("USD", Decimal("7.5")),)),
    InvoiceLine("acme", "ada", "free", 1, 10, 0, ()),
    InvoiceLine("birds", "ada", "large", 1, 0, 0, (("USD", Decimal("0.1")),)),
]


def rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def made(lines=LINES, kind="user"):
    return invoice(lines, kind, "2026-05-01", "2026-05-31")


def test_an_invoice_has_a_line_for_each_tenant_payer_and_model():
    assert made().split("\r\n") == [
        "tenant,start,end,user,model,requests,prompt_tokens,completion_tokens,price_per_million_tokens,cost,currency",
        "acme,2026-05-01,2026-05-31,ada,free,1,10,0,,,",
        "acme,2026-05-01,2026-05-31,ada,large,3,2000000,1000000,2.5,7.5,USD",
        "acme,2026-05-01,2026-05-31,bob,large,2,1000,500,,0.000000001,EUR",
        "acme,2026-05-01,2026-05-31,bob,large,0,0,0,,12.5,USD",
        "birds,2026-05-01,2026-05-31,ada,large,1,0,0,,0.1,USD",
        "",
    ]
    assert made(kind="key").splitlines()[0].split(",")[3] == "key"
    assert made([]).count("\n") == 1


def test_the_order_is_always_the_same():
    for seed in range(20):
        assert made(random.Random(seed).sample(LINES, len(LINES))) == made()


names = st.text(st.sampled_from("=+-@＝'\" \t\r\n;,|a"), max_size=8)
amounts = st.integers(0, 10**17).map(lambda units: Decimal(units).scaleb(-9))
some_lines = st.lists(
    st.builds(
        InvoiceLine,
        st.sampled_from(["a", "b"]),
        names,
        names,
        st.integers(0, 2**53),
        st.integers(0, 2**53),
        st.integers(0, 2**53),
        st.dictionaries(st.sampled_from(["EUR", "USD", "CHF"]), amounts).map(lambda cost: tuple(cost.items())),
    ),
    max_size=4,
)


@given(some_lines)
@settings(max_examples=30)
def test_every_column_adds_up_exactly(lines):
    found = rows(made(lines))
    for name in ("requests", "prompt_tokens", "completion_tokens"):
        assert sum(int(row[name]) for row in found) == sum(getattr(line, name) for line in lines)
    sums = {}
    for row in found:
        if row["currency"]:
            sums[row["currency"]] = sums.get(row["currency"], Decimal(0)) + Decimal(row["cost"])
    assert sums == totals(lines)


def test_costs_have_no_exponents():
    [row] = rows(made([InvoiceLine("a", "u", "m", 1, 10**9, 0, (("USD", Decimal("1E+3")),))]))
    assert (row["cost"], row["price_per_million_tokens"]) == ("1000", "1")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("＝1+1", "'＝1+1"),
        ("  =1+1", "  '=1+1"),
        ("\t=1+1", "\t'=1+1"),
        ("\r=1+1", "\r'=1+1"),
        ("a;=1+1", "a;'=1+1"),  # where a semicolon separates cells
        ('a,"=1+1"', 'a,"\'=1+1"'),
        ("a\n=1+1", "a\n'=1+1"),
        ("'=1+1", "''=1+1"),
        ("ada@example.com", "ada@example.com"),
        ("gpt-4=x", "gpt-4=x"),
        ("(erased)", "(erased)"),
        ("", ""),
    ],
)
def test_names_are_no_formulas(name, shown):
    assert cell(name) == shown
    [row] = rows(made([InvoiceLine("t", name, name, 1, 1, 1, ())]))
    assert (row["user"], row["model"]) == (shown, shown)


@given(names, names)
def test_no_name_begins_a_formula_and_different_names_stay_different(one, other):
    for part in re.split(r"[;,|\t\r\n]", cell(one)):
        assert not re.match(r"[\s\"]*[=+\-@＝]", part)
    assert (cell(one) == cell(other)) == (one == other)
