"""Who a token's claims say that somebody is."""

from __future__ import annotations

from typing import Any

import pytest

from serving.config import Issuer
from serving.security.person import Person, TokenError, person


class TestPerson:
    SETTINGS = Issuer(
        name="main",
        issuer="https://idp.example.com",
        client_id="public",
        tenant="acme",
        roles={"staff": "operator", "admins": "admin"},
    )

    def of(self, claims: dict[str, Any], **changes: Any) -> Person:
        return person(self.SETTINGS.model_copy(update=changes), {"sub": "s1", **claims})

    @pytest.mark.parametrize(
        ("groups", "role"),
        [
            ([], "user"),
            (["staff"], "operator"),
            (["staff", "admins"], "admin"),
            ("admins", "admin"),
            (["ADMINS"], "user"),
        ],
    )
    def test_a_person_has_the_highest_role_of_the_groups(self, groups: Any, role: str) -> None:
        assert self.of({"groups": groups}).role == role

    def test_users_without_a_role_can_be_rejected(self) -> None:
        with pytest.raises(TokenError):
            self.of({"groups": ["guests"]}, role=None)
        assert self.of({"groups": ["staff"]}, role=None).role == "operator"

    @pytest.mark.parametrize("verified", [False, None, "true", 1])
    def test_an_email_is_a_name_when_it_is_verified(self, verified: Any) -> None:
        claims = {"email": "alice@example.com"}
        with pytest.raises(TokenError):
            self.of({**claims, "email_verified": verified}, user_claim="email")
        assert self.of({**claims, "email_verified": True}, user_claim="email").user == "alice@example.com"

    @pytest.mark.parametrize("company", ["other", "ACME", "", None, 5, ["acme"]])
    def test_tenants_must_be_listed(self, company: Any) -> None:
        mapped = {"tenant": None, "tenant_claim": "company", "tenants": {"acme": "t1"}}
        with pytest.raises(TokenError):
            self.of({"company": company}, **mapped)
        assert self.of({"company": "acme"}, **mapped).tenant == "t1"

    def test_one_subject_of_two_issuers_is_two_people(self) -> None:
        other = self.SETTINGS.model_copy(update={"issuer": "https://other.example.com"})
        assert person(other, {"sub": "s1"}).id != self.of({}).id
