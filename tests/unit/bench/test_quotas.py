"""The quotas of the benchmark of quotas."""

from __future__ import annotations

from typing import get_args

from bench.relay.quotas import quotas
from serving.api.quota_bodies import QuotasRequest
from serving.config import STORED, Measure, Window


def test_there_is_a_quota_of_every_measure_and_window():
    given = QuotasRequest.model_validate({"quotas": quotas()}).quotas
    assert {each.measure for each in given} == set(get_args(Measure)) - set(STORED)
    assert {each.window for each in given} == set(get_args(Window)) - {"total"}
    assert len({(each.measure, each.window) for each in given}) == len(given) == 9
