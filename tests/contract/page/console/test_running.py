"""What the console shows of the running stack: health, models, aliases, sessions, consented answers and the log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx

from tests.contract.page.console.operated import Operated, settled
from tests.contract.page.console.test_acts import begin, confirm, did
from tests.contract.page.console.test_views import MOST_REQUESTS, requests, rows
from tests.contract.store.history.test_rating_counts import dated


def test_the_overview_counts_alerts_models_and_jobs_with_four_requests(operated: Operated) -> None:
    with operated.page("/admin") as shown:
        shown.there("h1", "Overview")
        shown.page.until("[...document.querySelectorAll('.tile b')].every((one) => one.innerText !== '…')")
        assert len(requests(shown, operated)) == 4
        models = operated.get("/v1/admin/models", limit=100)["data"]
        shown.there(".tile", f"/ {len(models)}")
        failed = operated.get("/v1/admin/jobs", status="failed", limit=100)["data"]
        shown.there(".tile a[href$='status=failed'] b", str(len(failed)))
        shown.there(".tile a[href='/admin/alerts']", "This stack has no Prometheus")
        shown.click(".tile a[href$='status=failed']")
        shown.there("h1", "Jobs")
        assert shown.page.evaluate("location.pathname + location.search") == "/admin/jobs?status=failed"


def test_models_and_aliases_are_shown_with_the_lines_to_edit(operated: Operated) -> None:
    with operated.page("/admin/models") as shown:
        settled(shown)
        known = [*operated.get("/v1/admin/models")["data"], *operated.get("/v1/admin/aliases")["data"]]
        shown_rows = rows(shown)
        assert [each["id"] in text for each, text in zip(known, shown_rows, strict=True)] == [True] * len(known)
        assert len(requests(shown, operated)) <= MOST_REQUESTS
        begin(shown, "Lines to edit", "fixed")
        shown.there("dialog[open] .lines")
        lines = shown.text("dialog[open] .lines")
        assert lines == (
            "headrace:aliases:\n  - name: fixed\n    targets:\n      - model: small\n        weight: 3\n"
            "      - model: other\n        weight: 1"
        )


def test_sessions_of_a_user_are_listed_and_ended(operated: Operated) -> None:
    key = operated.key("sam")
    cookies = httpx.post(
        f"{operated.up.url}/auth/key",
        json={"key": key},
        headers={"origin": operated.up.url},
        trust_env=False,
        timeout=60,
    ).cookies

    def status() -> int:
        return httpx.get(f"{operated.up.url}/auth/session", cookies=cookies, trust_env=False, timeout=60).status_code

    assert status() == 200
    with operated.page("/admin/users?q=sam") as shown:
        begin(shown, "Sessions", "sam")
        shown.there("dialog[open] tbody tr")
        assert shown.count("dialog[open] tbody tr") == 1
        shown.click("dialog[open] [aria-label=Close]")
        shown.gone("dialog[open]")
        begin(shown, "End all sessions", "sam")
        confirm(shown, "“sam”")
        did(shown)
        assert status() == 401


def test_a_consented_answer_is_read_and_that_is_recorded(operated: Operated) -> None:
    with operated.page("/admin/captures") as shown:
        settled(shown)
        known = operated.get("/v1/admin/captures")["data"]
        assert len(rows(shown)) == len(known) > 0
        begin(shown, "Read", operated.ids["capture"])
        shown.there("dialog[open] .said", "7?")
        shown.there("dialog[open]", "recorded")
        newest = operated.get("/v1/admin/audit", action="capture.read")["data"][0]
        assert newest["target"] == operated.ids["capture"]


def test_the_log_is_downloaded_with_the_filters_of_the_view(operated: Operated) -> None:
    with operated.page("/admin/audit?action=user.create") as shown:
        settled(shown)
        path = shown.page.evaluate("document.querySelector('a[download]').getAttribute('href')")
        assert path == "/v1/admin/audit/export?action=user.create"
        lines = shown.page.evaluate(f"fetch({path!r}).then((answer) => answer.text())").splitlines()
        assert [line for line in lines if '"action":"key.create"' in line] == []
        assert len(lines) > 2


def test_a_waiting_job_is_stopped(operated: Operated) -> None:
    operated.post("/v1/hub/datasets", format="openai-chat")
    with operated.page("/admin/jobs?status=queued") as shown:
        settled(shown)
        job = next(each for each in operated.get("/v1/admin/jobs", status="queued")["data"] if each["cancellable"])
        begin(shown, "Stop", job["id"])
        confirm(shown, job["id"])
        did(shown)
        jobs = operated.get("/v1/admin/jobs", status="cancelled")["data"]
        assert job["id"] in [each["id"] for each in jobs]


def test_when_a_month_begins_the_ratings_of_the_last_days_are_shown(operated: Operated) -> None:
    """By the browser's clock it is the first minute of this month."""
    now = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=30, microsecond=0)

    def day(ago: int) -> str:
        return (now - timedelta(days=ago)).date().isoformat()

    for ago in (10, 29, 30):
        question = [{"role": "user", "content": "7?"}]
        answer = operated.post("/v1/chat/completions", model="small", messages=question, store=True)
        rating = operated.post("/v1/feedback", target={"type": "response", "id": answer["id"]}, thumb="down")
        at = (now - timedelta(days=ago)).timestamp()
        operated.up.loop.do(dated(operated.up.services.database, rating["id"], at))
    with operated.page("/admin/ratings") as shown:
        script = f"Date.now = () => {int(now.timestamp() * 1000)}"
        shown.page.ask("Page.addScriptToEvaluateOnNewDocument", source=script)
        shown.page.open(f"{operated.up.url}/admin/ratings")
        settled(shown)
        days = [text.split()[0] for text in rows(shown)]
        assert days[:2] == [day(29), day(10)]
        assert days == [each["id"] for each in operated.get("/v1/admin/feedback/summary", start=day(29))["data"]]
        shown.page.choose(".filters select", "model")
        shown.there("tbody", "small")
        assert shown.page.evaluate("location.search") == "?by=model"
        assert shown.page.evaluate("document.querySelector('[name=start]').value") == day(29)
