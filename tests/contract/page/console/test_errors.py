"""An error of the API stands at the field of the form that it is about, which has the focus then."""

from __future__ import annotations

from typing import Any

from tests.contract.page.console.operated import Operated, settled
from tests.contract.page.console.test_acts import begin, confirm, did, give, row
from tests.contract.page.test_accessibility import clean
from tests.contract.page.world import Shown

FOCUS = """(() => {
  const { name, ariaInvalid, attributes } = document.activeElement;
  const notes = (attributes["aria-describedby"]?.value ?? "").split(" ").map((id) => document.getElementById(id));
  return { name, invalid: ariaInvalid, error: notes.at(-1)?.textContent };
})()"""


def wrong(shown: Shown, label: str, name: str, error: dict[str, Any]) -> None:
    """Waits until a field has the focus and the error of the API, and no other one has."""
    text = f"{label}: {error['message']}"
    shown.there("dialog[open] .error", text)
    shown.page.until("document.activeElement.ariaInvalid === 'true'")
    assert shown.page.evaluate(FOCUS) == {"name": name, "invalid": "true", "error": text}
    assert shown.count("dialog [aria-invalid]") == 1
    assert shown.count("dialog [role=alert]") == 2  # a screen reader is told, also if the field had the focus before
    assert shown.text("dialog [role=alert]") == text


def test_an_error_stands_at_its_field_until_the_value_is_right(operated: Operated, axe: str) -> None:
    quota = {"subject": "user", "id": "ann", "measure": "money", "window": "day", "limit": "70", "currency": "eur"}
    told = operated.http.put("/v1/admin/quotas", json={"quotas": [quota]}).json()["error"]
    assert told["param"] == "quotas[0].currency"
    with operated.page("/admin/quotas") as shown:
        settled(shown)
        begin(shown, "Set a quota")
        give(shown, Id="ann", Measure="money", Limit="70", Currency="eur")
        confirm(shown)
        wrong(shown, "Currency", "currency", told)
        clean(shown, axe)
        give(shown, Currency="EUR")
        confirm(shown)
        did(shown)
        assert row(operated, "/v1/admin/quotas", id="ann", measure="money")["limit"] == "70"


def test_an_error_is_found_at_a_field_that_the_request_calls_otherwise(operated: Operated) -> None:
    key = operated.post("/v1/admin/keys", user="ann", name="rotated")["id"]
    told = operated.http.post(f"/v1/admin/keys/{key}/rotate", json={"overlap_s": 36_000_000}).json()["error"]
    assert told["param"] == "overlap_s"
    with operated.page("/admin/keys?q=rotated") as shown:
        begin(shown, "Rotate", key)
        give(shown, Hours_for_which_the_old_one_stays_valid="10000")
        confirm(shown)
        wrong(shown, "Hours for which the old one stays valid", "hours", told)


def test_an_error_about_no_field_stands_below_the_form(operated: Operated) -> None:
    told = operated.http.post("/v1/admin/users", json={"id": "ann"}).json()["error"]
    assert told["param"] is None
    with operated.page("/admin/users") as shown:
        settled(shown)
        begin(shown, "Add a user")
        give(shown, User="ann")
        confirm(shown)
        shown.there("dialog[open] [role=alert]", told["message"])
        assert shown.count("dialog [aria-invalid]") == 0
