"""Each act of the console does what it says, asks first with the name of the thing, and the API agrees afterwards."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.contract.page.console.operated import Operated, settled
from tests.contract.page.world import Shown
from tests.wait import eventually

SET = """(() => {
  const label = [...document.querySelectorAll("dialog[open] label, dialog[open] legend")]
    .find((one) => one.textContent === %s);
  const field = label.control ?? document.getElementById(label.htmlFor);
  const kind = Object.getPrototypeOf(field);
  Object.getOwnPropertyDescriptor(kind, "value").set.call(field, %s);
  field.dispatchEvent(new Event("input", { bubbles: true }));
  field.dispatchEvent(new Event("change", { bubbles: true }));
})()"""


def begin(shown: Shown, label: str, name: str = "") -> None:
    """Presses the button of an act, of the row with that name or of the list."""
    script = f"""[...document.querySelectorAll("main .make button, main td.acts button")]
      .find((one) => (one.ariaLabel ?? one.textContent).startsWith({json.dumps(label)})
        && (one.ariaLabel ?? "").includes({json.dumps(name)}))"""
    shown.page.until(f"!!{script}", lambda: shown.page.evaluate("document.body.innerText"))
    shown.page.evaluate(f"{script}.click()")


def give(shown: Shown, **fields: str) -> None:
    """Fills fields of the dialog in, by their labels with `_` for spaces."""
    shown.there("dialog[open] form")
    for label, value in fields.items():
        shown.page.evaluate(SET % (json.dumps(label.replace("_", " ")), json.dumps(value)))


def tick(shown: Shown, *values: str) -> None:
    for value in values:
        shown.click(f"dialog[open] input[type=checkbox][value={json.dumps(value)}]")


def confirm(shown: Shown, *named: str) -> None:
    """Sends the form of the dialog, whose text has what it is about."""
    for name in named:
        shown.there("dialog[open]", name)
    shown.click("dialog[open] [type=submit]")


def did(shown: Shown, *, secret: bool = False) -> str:
    """Waits until it is done, and returns the secret that is shown."""
    if not secret:
        shown.gone("dialog[open]")
        settled(shown)
        return ""
    shown.there("dialog[open] .secret code")
    told = shown.text("dialog[open] .secret code")
    shown.click("dialog[open] .primary")
    shown.gone("dialog[open]")
    return told


def row(operated: Operated, path: str, **fields: Any) -> dict[str, Any]:
    """Returns the first row of the API's list with these fields."""
    rows = operated.get(path, limit=100)["data"]
    found: dict[str, Any] = next(one for one in rows if fields.items() <= one.items())
    return found


def test_a_tenant_is_added_renamed_disabled_and_enabled(operated: Operated) -> None:
    with operated.page("/admin/tenants") as shown:
        begin(shown, "Add a tenant")
        give(shown, Id="Not an id")
        confirm(shown)
        shown.there("dialog[open] .error", "pattern")
        give(shown, Id="harbour", Name="Harbour")
        confirm(shown)
        did(shown)
        assert row(operated, "/v1/admin/tenants", id="harbour")["name"] == "Harbour"
        begin(shown, "Rename", "harbour")
        give(shown, Name="The harbour")
        confirm(shown)
        did(shown)
        assert row(operated, "/v1/admin/tenants", id="harbour")["name"] == "The harbour"
        begin(shown, "Disable", "harbour")
        confirm(shown, "harbour")
        did(shown)
        assert row(operated, "/v1/admin/tenants", id="harbour")["disabled"]
        begin(shown, "Enable", "harbour")
        eventually(lambda: not row(operated, "/v1/admin/tenants", id="harbour")["disabled"], "it is enabled")


def test_a_user_is_added_changed_and_disabled(operated: Operated) -> None:
    with operated.page("/admin/users") as shown:
        begin(shown, "Add a user")
        give(shown, User="ben", Role="operator", Groups="sea\n\n land ")
        confirm(shown)
        did(shown)
        ben = row(operated, "/v1/admin/users", id="ben")
        assert (ben["role"], ben["groups"]) == ("operator", ["land", "sea"])
        begin(shown, "Change", "ben")
        give(shown, Role="user", Groups="")
        confirm(shown)
        did(shown)
        ben = row(operated, "/v1/admin/users", id="ben")
        assert (ben["role"], ben["groups"]) == ("user", [])
        begin(shown, "Disable", "ben")
        shown.there("dialog[open]", "“ben”")
        shown.click("dialog[open] .buttons [type=button]")  # cancels
        shown.gone("dialog[open]")
        assert not row(operated, "/v1/admin/users", id="ben")["disabled"]
        begin(shown, "Disable", "ben")
        confirm(shown, "“ben”")
        did(shown)
        assert row(operated, "/v1/admin/users", id="ben")["disabled"]


def test_a_key_is_made_rotated_and_revoked_and_its_secret_is_shown_once(operated: Operated) -> None:
    def status(key: str) -> int:
        return httpx.get(
            f"{operated.up.url}/v1/me", headers={"authorization": f"Bearer {key}"}, trust_env=False, timeout=60
        ).status_code

    operated.http.post("/v1/admin/users", json={"id": "kit"}).raise_for_status()
    with operated.page("/admin/keys?user=kit") as shown:
        begin(shown, "Make a key")
        give(shown, User="kit", Name="ci", Valid_for_days="2")
        tick(shown, "inference", "data:read")
        confirm(shown)
        first = did(shown, secret=True)
        assert first not in shown.page.evaluate("document.documentElement.outerHTML")
        made = row(operated, "/v1/admin/keys", name="ci")
        assert sorted(made["scopes"]) == ["data:read", "inference"]
        assert made["expires_at"] - made["created_at"] == 2 * 86_400
        assert status(first) == 200
        begin(shown, "Rotate", "ci")
        give(shown, Hours_for_which_the_old_one_stays_valid="0")
        confirm(shown, "ci")
        second = did(shown, secret=True)
        assert status(second) == 200
        newest = row(operated, "/v1/admin/keys", id=row(operated, "/v1/admin/keys", id=made["id"])["rotated_to"])
        begin(shown, "Revoke", newest["id"])
        confirm(shown, "ci", newest["id"])
        did(shown)
        assert row(operated, "/v1/admin/keys", id=newest["id"])["revoked_at"] is not None
        shown.there("tbody .state", "revoked")


def test_a_quota_is_set_and_removed(operated: Operated) -> None:
    with operated.page("/admin/quotas") as shown:
        shown.there(".lines", "headrace:quotas:")
        begin(shown, "Set a quota")
        give(shown, Id="small", Limit="12.5", About="model", Measure="money", Window="month", Currency="EUR")
        confirm(shown)
        did(shown)
        quota = row(operated, "/v1/admin/quotas", id="small")
        assert (quota["subject"], quota["limit"], quota["currency"]) == ("model", "12.5", "EUR")
        begin(shown, "Remove", "model small")
        confirm(shown, "model small: money, month")
        did(shown)
        assert "small" not in [each["id"] for each in operated.get("/v1/admin/quotas")["data"]]


def test_a_webhook_is_added_rotated_and_deleted(operated: Operated) -> None:
    url = "https://example.com/second"
    with operated.page("/admin/webhooks") as shown:
        begin(shown, "Add a webhook")
        give(shown, Address=url)
        tick(shown, "response.failed")
        confirm(shown)
        first = did(shown, secret=True)
        assert row(operated, "/v1/admin/webhooks", url=url)["events"] == ["response.failed"]
        begin(shown, "Rotate", url)
        confirm(shown, url)
        assert did(shown, secret=True) not in ("", first)
        begin(shown, "Delete", url)
        confirm(shown, url)
        did(shown)
        assert url not in [each["url"] for each in operated.get("/v1/admin/webhooks")["data"]]


def test_the_audit_log_is_filtered_and_verified(operated: Operated) -> None:
    operated.post("/v1/admin/users", id="eve")
    with operated.page("/admin/audit?action=user.create") as shown:
        settled(shown)
        actions = shown.page.evaluate(
            "[...document.querySelectorAll('tbody td:nth-child(2)')].map((one) => one.innerText)"
        )
        assert set(actions) == {"user.create"}
        begin(shown, "Details")
        newest = operated.get("/v1/admin/audit", action="user.create", limit=1)["data"][0]
        shown.there("dialog[open] .facts", newest["hash"])
        shown.click("dialog[open] [aria-label=Close]")
        shown.gone("dialog[open]")
        begin(shown, "Verify the log")
        shown.there("dialog[open] .verified", "The log is whole")
        events = operated.get("/v1/admin/audit", limit=50)["data"]
        verified = [event["action"] for event in events].index("audit.verify")
        # The event that records the verification comes after what was verified.
        shown.there("dialog[open] .facts", events[verified + 1]["hash"])


def test_a_user_is_counted_and_erased_and_the_receipt_says_so(operated: Operated) -> None:
    operated.post("/v1/admin/users", id="gone")
    ended = "[...document.querySelectorAll('tbody .state')].every((one) => one.innerText === 'succeeded')"
    with operated.page("/admin/erasures") as shown:
        begin(shown, "Count a user's data")
        give(shown, User="gone")
        confirm(shown)
        did(shown)
        shown.there("tbody .state", "queued")
        operated.work(users=1, keys=3)
        shown.page.until(ended, lambda: shown.page.evaluate("document.body.innerText"))
        begin(shown, "Erase a user")
        give(shown, **{"User": "gone", "The user's name again": "gon"})
        confirm(shown, "Nobody can undo it.")
        shown.there("dialog[open] .error", "not the same")
        give(shown, **{"The user's name again": "gone"})
        confirm(shown)
        did(shown)
        shown.there("tbody .state", "queued")
        begin(shown, "Receipt", "gone")
        shown.there("dialog[open]", "data may be left")
        shown.click("dialog[open] [aria-label=Close]")
        shown.gone("dialog[open]")
        operated.work(users=1, keys=3)
        shown.page.until(ended, lambda: shown.page.evaluate("document.body.innerText"))
        erased, counted = operated.get("/v1/admin/erasures")["data"][:2]
        assert (erased["dry_run"], counted["dry_run"]) == (False, True)
        begin(shown, "Receipt", "gone")
        shown.there("dialog[open]", "All data of this user is deleted")
        shown.there("dialog[open] .facts", erased["subject"])


def test_files_and_stores_are_renamed_and_deleted(operated: Operated) -> None:
    answer = operated.http.post(
        "/v1/files", files={"file": ("old.txt", b"The land is dry.")}, data={"purpose": "assistants"}
    )
    file = answer.raise_for_status().json()["id"]
    store = operated.post("/v1/vector_stores", name="Old charts", file_ids=[file])["id"]
    with operated.page("/admin/stores") as shown:
        begin(shown, "Rename", "Old charts")
        give(shown, Name="Older charts")
        confirm(shown)
        did(shown)
        assert row(operated, "/v1/vector_stores", id=store)["name"] == "Older charts"
        begin(shown, "Files", "Older charts")
        shown.there("dialog[open] tbody", file)
        shown.click("dialog[open] td.acts button")
        shown.there("dialog dialog[open]", f"Take “{file}” out")
        shown.click("dialog dialog[open] [type=submit]")
        shown.there("dialog[open] .hint", "There is none.")
        assert operated.get(f"/v1/vector_stores/{store}/files")["data"] == []
        shown.click("dialog[open] [aria-label=Close]")
        shown.gone("dialog[open]")
        begin(shown, "Delete", "Older charts")
        confirm(shown, "“Older charts”")
        did(shown)
        assert store not in [each["id"] for each in operated.get("/v1/vector_stores")["data"]]
    with operated.page("/admin/files") as shown:
        begin(shown, "Delete", "old.txt")
        confirm(shown, "“old.txt”")
        did(shown)
        assert file not in [each["id"] for each in operated.get("/v1/files")["data"]]


def test_a_version_is_made_live_withdrawn_and_retired(operated: Operated) -> None:
    version = operated.adapter("second")
    with operated.page("/admin/versions?name=second") as shown:
        begin(shown, "Card")
        shown.there("dialog[open] .facts", "a test")
        shown.click("dialog[open] [aria-label=Close]")
        begin(shown, "Lineage")
        shown.there("dialog[open] h3", "Made from")
        shown.click("dialog[open] [aria-label=Close]")
        begin(shown, "Make live")
        live = f"/v1/hub/versions/{version}/live"
        eventually(lambda: operated.get(live)["live"], "it is live")
        settled(shown)
        begin(shown, "Withdraw")
        confirm(shown, "“second 1”")
        did(shown)
        assert not operated.get(live)["live"]
        begin(shown, "Retire")
        give(shown, Reason="Worse than the first")
        confirm(shown, "“second 1”")
        did(shown)
        retired = operated.get(f"/v1/hub/versions/{version}")
        assert (retired["status"], retired["reason"]) == ("retired", "Worse than the first")


def test_another_tenant_may_use_a_version_while_there_is_consent(operated: Operated) -> None:
    version = operated.adapter("shared")
    consents = f"/v1/hub/versions/{version}/consents"
    with operated.page("/admin/versions?name=shared") as shown:
        begin(shown, "Give consent")
        give(shown, Tenant="acme", For="release")
        confirm(shown, "“shared 1”")
        did(shown)
        [given] = operated.get(consents)["data"]
        assert (given["tenant"], given["scope"], given["revoked_at"]) == ("acme", "release", None)
        begin(shown, "Consents")
        shown.there("dialog[open] li", "acme")
        assert shown.count("dialog[open] .state") == 0
        shown.click("dialog[open] [aria-label=Close]")
        begin(shown, "End a consent")
        give(shown, Tenant="acme")
        confirm(shown, "“shared 1”")
        did(shown)
        assert operated.get(consents)["data"][0]["revoked_at"] is not None
        begin(shown, "Consents")
        shown.there("dialog[open] .state", "revoked")


def test_a_release_is_begun_paused_resumed_promoted_and_rolled_back(operated: Operated) -> None:
    with operated.page("/admin/releases") as shown:
        for act, asks, status in (
            ("Pause", False, "paused"),
            ("Resume", False, "canary"),
            ("Promote", True, "promoted"),
            ("Roll back", True, "rolled_back"),
        ):
            begin(shown, act)
            if asks:
                confirm(shown, "“managed”")
                did(shown)
            url = f"/v1/hub/releases/{operated.ids['release']}"
            eventually(lambda url=url, status=status: operated.get(url)["status"] == status, f"it is {status}")
            shown.there("tbody .state", status)
        begin(shown, "Begin a release")
        give(shown, Alias="managed", Target="other", Share_in_percent="20")
        confirm(shown)
        did(shown)
        newest = operated.get("/v1/hub/releases")["data"][0]
        assert (newest["target"], newest["share"], newest["status"]) == ("other", 0.2, "canary")


def test_a_change_of_a_release_that_has_changed_since_is_refused(operated: Operated) -> None:
    with operated.page("/admin/releases?alias=managed") as shown:
        settled(shown)
        newest = operated.get("/v1/hub/releases")["data"][0]
        change = {"canary": "pause", "paused": "resume"}[newest["status"]]
        operated.post(f"/v1/hub/releases/{newest['id']}/{change}")
        begin(shown, "Promote")
        confirm(shown)
        shown.there("dialog[open] .error", "revision")


def test_a_version_is_released_without_the_gate_for_a_reason_alone(operated: Operated) -> None:
    version = operated.adapter("ungated")
    with operated.page("/admin/releases?alias=tuned") as shown:
        begin(shown, "Begin a release")
        give(shown, Alias="tuned", Version=version)
        confirm(shown)
        shown.there("dialog[open] .error", "The gate is needed")
        give(shown, Reason_to_go_without_the_gate="A repair that cannot wait")
        confirm(shown)
        did(shown)
        [released] = operated.get("/v1/hub/releases", alias="tuned")["data"]
        assert released["version"] == version
        assert "A repair that cannot wait" in str(operated.get(f"/v1/hub/versions/{version}")["card"])
        begin(shown, "Promote")
        shown.there("dialog[open] label", "Reason to go without the gate")


def test_an_evaluation_is_begun_and_its_card_is_shown(operated: Operated) -> None:
    with operated.page("/admin/evaluations") as shown:
        begin(shown, "Begin an evaluation")
        give(shown, Suite=operated.ids["suite"], Model="small")
        confirm(shown)
        did(shown)
        assert operated.get("/v1/hub/evaluations")["data"][0]["model"] == "small"
        begin(shown, "Card", operated.ids["evaluation"])
        shown.there("dialog[open] .facts", operated.ids["suite"])


def test_an_export_is_made_and_deleted(operated: Operated) -> None:
    with operated.page("/admin/exports") as shown:
        begin(shown, "Make an export")
        give(shown, Format="trl-preference", Model="small")
        confirm(shown, "consented")
        did(shown)
        newest = operated.get("/v1/hub/datasets")["data"][0]
        assert newest["format"] == "trl-preference"


def test_keys_alone_make_a_user(operated: Operated) -> None:
    with operated.page("/admin/users") as shown:
        settled(shown)
        for _ in range(80):
            shown.page.press("Tab", 9)
            if shown.page.evaluate("document.activeElement.textContent") == "Add a user":
                break
        shown.enter()
        shown.there("dialog[open] form")
        for _ in range(10):
            if shown.page.evaluate("document.activeElement.name") == "id":
                break
            shown.page.press("Tab", 9)
        shown.write("keyed")
        shown.enter()
        shown.gone("dialog[open]")
        assert shown.page.evaluate("document.activeElement.textContent") == "Add a user"
        assert row(operated, "/v1/admin/users", id="keyed")["role"] == "user"
