"""The mean time of a replica's leases is published once there were enough of them."""

from prometheus_client import REGISTRY

from serving.engines.measures.lease_times import FEW, LeaseTimes


def published(replica):
    return REGISTRY.get_sample_value("headrace_engine_lease_seconds", {"model": "m", "replica": replica})


def test_the_last_leases_count():
    times = LeaseTimes("m", "one")
    for _ in range(FEW - 1):
        times.ended(2)
    assert published("one") is None
    times.ended(2)
    assert published("one") == 2
    for _ in range(FEW):
        times.ended(5)
    assert published("one") == 5


def test_replicas_have_a_series_each():
    for name, seconds in (("two", 1), ("three", 4)):
        times = LeaseTimes("m", name)
        for _ in range(FEW):
            times.ended(seconds)
    assert (published("two"), published("three")) == (1, 4)
