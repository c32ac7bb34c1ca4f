"""A mixed load on a running stack: what people do with one, and what goes wrong while they do.

Each strand is one thing that callers do again and again, in a thread and with a client of its own.
"""

from __future__ import annotations

import json
import secrets
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from os import kill
from pathlib import Path

import httpx

from infra.providers.session import Session
from tests.stacks.scripted import TOPIC
from tests.stacks.stack import Stack
from tests.stacks.ticker import FAILS, PAGE, script

Strand = Callable[[httpx.Client, int], None]
Strands = dict[Strand, float]
"""What callers do, and how many seconds they pause before they do it again."""

UNSUPPORTED = " ".join(
    f"The lighthouse of ward {i} was painted violet by nineteen visiting carpenters." for i in range(30)
)
INNOCENT = "Say a word, please. "
LOOP = "```python\ndef solution():\n    while True:\n        pass\n```"
PROGRAMS = {
    "ok": "```python\ndef solution():\n    return 6 * 7\n```",
    "error": "```python\ndef solution():\n    return 1 / 0\n```",
    "limit": "```python\ndef solution():\n    return solution()\n```",
}
PRIVATE = "Write to anna.berg@example.com or to bo.lund@example.org, or call +1 202 555 0142."
SECRET = "The key is AKIAIOSFODNN7EXAMPLF, and the other one sk-proj-9f8Ab3cD5eF7gH1iJ2kL4mN6oP8qR0sT."
BROKEN_PDF = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog"


def chat(client: httpx.Client, model: str, text: str, **more: object) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 8, **more}
    return client.post("/v1/chat/completions", json=body)


def calls(tool: str, url: str) -> str:
    """Returns the output of a model that calls a tool."""
    return script(f'Thought: I need it.\nAction: {tool}\nAction Input: {{"url": "{url}"}}')


class Mixed:
    """A context manager that runs the load."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._stop = threading.Event()
        self._run = secrets.token_hex(4)
        ticker = next(m["url"] for m in stack.settings()["models"] if m["name"] == "ticker")
        self._page = f"{ticker.removesuffix('/v1')}{PAGE}"
        self.problems: list[str] = []
        with stack.client() as client:
            self._prepare(client)
        always: Strands = {
            self._answers: 2,
            self._streams: 2,
            self._hang_ups: 3,
            self._everything_else: 5,
            self._rates: 0.7,
            self._budget: 0.5,
        }
        # Apart, since shares of all requests are judged: how many find nothing, and whose questions are personal.
        first: Strands = {self._finds: 1, self._finds_nothing: 0.1, self._wrong_key: 0.4, self._forbidden: 0.15}
        then: Strands = {
            self._private: 0.4,
            self._topics: 0.4,
            self._programs: 1,
            self._crashes: 3,
            self._tools: 1,
            self._facts: 0.2,
            self._failures: 0.7,
            self._files: 5,
            self._costs: 2,
            self._releases: 5,
        }
        self._turn = threading.Event()
        never = threading.Event()
        begun = threading.Event()
        begun.set()
        self._threads = [
            threading.Thread(target=self._strand, args=(do, pause_s, since, until), name=do.__name__)  # ty: ignore[missing-attribute]
            for strands, since, until in ((always, begun, never), (first, begun, self._turn), (then, self._turn, never))
            for do, pause_s in strands.items()
        ]

    def __enter__(self) -> Mixed:
        for thread in self._threads:
            thread.start()
        return self

    def turn(self) -> None:
        """Switches from the first part of the load to the second."""
        self._turn.set()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._turn.set()
        for thread in self._threads:
            thread.join(240)
            if thread.is_alive():
                self.problems.append(f"{thread.name} hangs")

    def _prepare(self, client: httpx.Client) -> None:
        """Creates a tenant with a small budget, a user without admin rights, a vector store."""
        self.tenant = f"load-{self._run}"
        of = {"params": {"tenant": self.tenant}}
        _ok(client.post("/v1/admin/tenants", json={"id": self.tenant}))
        _ok(client.post("/v1/admin/users", json={"id": "ada"}, **of))
        self._key = _ok(client.post("/v1/admin/keys", json={"user": "ada"}, **of))["key"]
        day = {"subject": "tenant", "id": self.tenant, "window": "day", "measure": "requests", "limit": 5}
        _ok(client.put("/v1/admin/quotas", json={"quotas": [day]}, **of))
        self._store = _ok(client.post("/v1/vector_stores", json={"name": f"load-{self._run}"}))["id"]
        # What is compared with the time before needs a time before.
        assert chat(client, "guarded", f"Let us play {TOPIC}.").status_code == 400
        _ok(chat(client, "scripted", "Count.", max_tokens=1))

    def _strand(self, do: Strand, pause_s: float, since: threading.Event, until: threading.Event) -> None:
        since.wait()
        i = 0
        with self._stack.client() as client:
            while not self._stop.is_set() and not until.is_set():
                try:
                    do(client, i)
                except Exception as e:  # what a strand does not expect is told at the end
                    self.problems.append(f"{do.__name__}: {e!r}")  # ty: ignore[missing-attribute]
                i += 1
                self._stop.wait(pause_s)

    def _answers(self, client: httpx.Client, i: int) -> None:
        again = {"Idempotency-Key": f"{self._run}-{i}"}
        body = {"model": "plain", "messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 4}
        first, second = (client.post("/v1/chat/completions", json=body, headers=again) for _ in range(2))
        assert _ok(first)["id"] == _ok(second)["id"]

    def _streams(self, client: httpx.Client, i: int) -> None:
        body = {"model": "smollm2", "messages": [{"role": "user", "content": "Name a heron."}], "max_tokens": 12}
        with client.stream(
            "POST", "/v1/chat/completions", json=body | {"stream": True}, headers={"headrace-resumable": "true"}
        ) as answer:
            id = answer.headers["headrace-stream"]
            assert "".join(answer.iter_text()).endswith("data: [DONE]\n\n")
        assert client.get(f"/v1/streams/{id}").text.endswith("data: [DONE]\n\n")

    def _hang_ups(self, client: httpx.Client, i: int) -> None:
        body = {
            "model": "ticker",
            "messages": [{"role": "user", "content": "Count."}],
            "max_tokens": 20,
            "stream": True,
        }
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            next(answer.iter_text())

    def _everything_else(self, client: httpx.Client, i: int) -> None:
        _ok(client.post("/v1/responses", json={"model": "smollm2", "input": "Name a heron.", "max_output_tokens": 4}))
        _ok(client.post("/v1/embeddings", json={"model": "all-minilm-l6-v2", "input": "a heron"}))
        _ok(client.post("/v1/completions", json={"model": "smollm2", "prompt": "Herons", "max_tokens": 4}))
        _ok(chat(client, "miller", "What is 2 + 2?", max_tokens=16))
        _ok(chat(client, "reader", "When does the harbour gate of Brenna open?", max_tokens=16))
        assert client.post("/v1/chat/completions", content=b"{").status_code == 400
        assert client.get("/v1/models/nobody").status_code == 404

    def _finds(self, client: httpx.Client, i: int) -> None:
        question = "When does the harbour gate of Brenna open?"
        _ok(chat(client, "finder", f"{question} {script(UNSUPPORTED)}", max_tokens=2000))

    def _finds_nothing(self, client: httpx.Client, i: int) -> None:
        _ok(chat(client, "finder", "zxqv jkwp vbnm qqrt"))

    def _wrong_key(self, client: httpx.Client, i: int) -> None:
        answer = client.get("/v1/models", headers={"Authorization": f"Bearer hr_{secrets.token_hex(24)}"})
        assert answer.status_code == 401

    def _forbidden(self, client: httpx.Client, i: int) -> None:
        assert client.get("/v1/admin/keys", headers={"Authorization": f"Bearer {self._key}"}).status_code == 403

    def _rates(self, client: httpx.Client, i: int) -> None:
        if i % 10 == 0:  # an answer takes 20 ratings of a person
            self._rated = _ok(chat(client, "scripted", INNOCENT + script("Yes."), store=True))["id"]
        rating = {"target": {"type": "response", "id": self._rated}, "thumb": "up" if i % 4 == 0 else "down"}
        _ok(client.post("/v1/feedback", json=rating))

    def _private(self, client: httpx.Client, i: int) -> None:
        _ok(chat(client, "guarded", f"{PRIVATE} {script(PRIVATE)}", max_tokens=200))
        if i % 8 == 0:
            _ok(chat(client, "guarded", INNOCENT + script(SECRET), max_tokens=200))

    def _topics(self, client: httpx.Client, i: int) -> None:
        assert chat(client, "guarded", f"Let us play {TOPIC}.").status_code == 400

    def _programs(self, client: httpx.Client, i: int) -> None:
        for ends in ("ok", "error", "limit", "limit"):
            _ok(chat(client, "programmer", INNOCENT + script(PROGRAMS[ends]), max_tokens=200))

    def _crashes(self, client: httpx.Client, i: int) -> None:
        """Kills the processes that run the models' programs."""
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(chat, client, "programmer", INNOCENT + script(LOOP), max_tokens=200) for _ in range(2)]
            before: set[int] = set()
            while not all(answer.done() for answer in asked):
                time.sleep(0.5)
                workers = self._workers()
                # Not those that have just started: they may be the ones with which a gateway tests its sandbox.
                for pid in workers & before:
                    with suppress(OSError):
                        kill(pid, signal.SIGKILL)
                before = workers
            for answer in asked:
                answer.result()

    def _workers(self) -> set[int]:
        pids = set()
        for member in Session(self._stack.layout.record("ray")).members():
            with suppress(OSError):
                if b"monty\0subprocess" in Path(f"/proc/{member.pid}/cmdline").read_bytes():
                    pids.add(member.pid)
        return pids

    def _tools(self, client: httpx.Client, i: int) -> None:
        tool, url = ("page", self._page) if i % 4 == 3 else ("broken", "http://127.0.0.1:9/")
        _ok(chat(client, "caller", INNOCENT + calls(tool, url), max_tokens=200))

    def _facts(self, client: httpx.Client, i: int) -> None:
        conversation = _ok(client.post("/v1/conversations", json={}))["id"]
        _ok(chat(client, "forgetful", "I like herons.", conversation=conversation, max_tokens=2))

    def _failures(self, client: httpx.Client, i: int) -> None:
        assert chat(client, "scripted", INNOCENT + script(FAILS)).status_code >= 500

    def _files(self, client: httpx.Client, i: int) -> None:
        good = f"# Note {i}\n\nHeron {i}.\n".encode()
        for name, data in (("good.md", good), *((f"bad{k}.pdf", BROKEN_PDF) for k in range(2))):
            files = {"file": (name, data)}
            file = _ok(client.post("/v1/files", files=files, data={"purpose": "assistants"}))["id"]
            _ok(client.post(f"/v1/vector_stores/{self._store}/files", json={"file_id": file}))

    def _costs(self, client: httpx.Client, i: int) -> None:
        _ok(chat(client, "scripted", "Count.", max_tokens=400))

    def _releases(self, client: httpx.Client, i: int) -> None:
        """A canary begins, people ask the alias and rate its answers, and the canary is rolled back.

        The keeper counts outcomes of running releases alone, so that one lasts for some looks of it and some scrapes.
        """
        release = _ok(client.post("/v1/hub/releases", json={"alias": "released", "target": "ticker"}))
        try:
            for _ in range(3):
                streamed = chat(client, "released", "Name a heron.", max_tokens=4, stream=True, store=True)
                assert streamed.status_code == 200, streamed.text[:300]
                id = json.loads(streamed.text.partition("data: ")[2].partition("\n")[0])["id"]
                _ok(client.post("/v1/feedback", json={"target": {"type": "response", "id": id}, "thumb": "up"}))
                self._stop.wait(5)
        finally:
            ended = _ok(client.post(f"/v1/hub/releases/{release['id']}/rollback", json={}))
        assert (ended["status"], ended["reason"]) == ("rolled_back", "requested"), ended

    def _budget(self, client: httpx.Client, i: int) -> None:
        theirs = {"Authorization": f"Bearer {self._key}"}
        body = {"model": "ticker", "messages": [{"role": "user", "content": "Count."}], "max_tokens": 2}
        answer = client.post("/v1/chat/completions", json=body, headers=theirs)
        assert answer.status_code in (200, 429), answer.text  # five times there is enough, once every gateway knows


def _ok(answer: httpx.Response) -> dict:
    assert answer.status_code == 200, f"{answer.request.url.path}: {answer.status_code} {answer.text[:300]}"
    return answer.json()
