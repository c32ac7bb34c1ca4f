"""What the configuration says of everybody, and who takes its place."""

from __future__ import annotations

import pytest

from serving.config import QuotaLimit, Quotas
from serving.core.principal import Principal
from serving.quotas.quota import Rules, quota

ME = Principal("acme", "ada", "key_1")
LIMIT = QuotaLimit(window="day", measure="tokens", limit=10)
MORE = QuotaLimit(window="day", measure="tokens", limit=1_000_000)
DEFAULTS = Quotas(tenant=(LIMIT,), user=(LIMIT,))
LESS = QuotaLimit(window="day", measure="tokens", limit=1)


def limits(*given):
    return {(each.subject, each.set_by): each.limit for each in Rules(DEFAULTS, given).quotas_for(ME, "m")}


def test_tenant_limits_do_not_replace_configured_ones():
    assert limits(quota("acme", "tenant", "acme", MORE, "tenant")) == {
        ("tenant", "configuration"): 10,
        ("tenant", "tenant"): 1_000_000,
        ("user", "configuration"): 10,
    }


def test_the_platforms_quota_replaces_the_configured_one():
    assert limits(quota("acme", "tenant", "acme", MORE)) == {
        ("tenant", "platform"): 1_000_000,
        ("user", "configuration"): 10,
    }


@pytest.mark.parametrize("set_by", ["tenant", "platform"])
def test_a_users_quota_of_either_origin_replaces_the_configured_one(set_by):
    assert limits(quota("acme", "user", "ada", MORE, set_by))["user", set_by] == 1_000_000
    assert ("user", "configuration") not in limits(quota("acme", "user", "ada", MORE, set_by))


def test_usage_carries_over_to_platform_limits():
    [before] = [each for each in Rules(DEFAULTS).quotas_for(ME, "m") if each.subject == "tenant"]
    assert before.id == quota("acme", "tenant", "acme", MORE).id


@pytest.mark.parametrize("given", [(), (quota("acme", "tenant", "acme", LESS),)])
def test_above_a_tenants_is_the_platforms_or_the_configurations(given):
    own = quota("acme", "tenant", "acme", MORE, "tenant")
    ceiling = Rules(DEFAULTS, given).ceiling(own)
    assert ceiling is not None
    assert ceiling.limit == (1 if given else 10)


def test_user_limits_are_capped_by_the_platforms_only():
    own = quota("acme", "user", "ada", MORE, "tenant")
    assert Rules(DEFAULTS, [own]).ceiling(own) is None
    assert Rules(DEFAULTS, [own, quota("acme", "user", "ada", LESS)]).ceiling(own) is not None
