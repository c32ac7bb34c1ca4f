"""A load of streams and uploads, and what must hold of it whatever dies meanwhile."""

from __future__ import annotations

import os
import threading
import time

import httpx

WHOLE_S = 240
"""A whole answer comes within this time, even of an engine that shares two cores with two versions of a stack.

That something hangs is seen sooner: the client waits `WAITS_S` for each next piece.
"""
WAITS_S = 60
CHAT = {
    "model": "smollm2",
    "messages": [{"role": "user", "content": "Write a long story about a river."}],
    "max_tokens": 120,
    "stream": True,
}


RESTS = 4
"""A gentle client rests so many times as long as its answer took."""
REST_AT_MOST_S = 15
"""The longest rest: one answer that took a minute must not make a client rest for four."""


class Load:
    """Three clients that stream and one that uploads, until told to stop.

    Those of a `gentle` one ask for shorter answers and rest between them, or a model that runs on the processors would
    keep them from the pods that are started meanwhile; and they wait for a model whose pod is started anew.
    """

    def __init__(self, stack, *, gentle=False):
        self.stack = stack
        self._chat = CHAT | {"max_tokens": 40} if gentle else CHAT
        self._rests = RESTS if gentle else 0
        self._waits_s = WHOLE_S if gentle else WAITS_S
        self.problems: list[str] = []
        self.complete = 0
        self.cut = 0
        self.refused = 0
        self.incomplete: list[str] = []
        """What was cut or refused, as seconds of the load, status and what came last."""
        self._started = time.monotonic()
        self.acknowledged: dict[str, bytes] = {}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._stream) for _ in range(3)]
        self._threads.append(threading.Thread(target=self._upload))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(WHOLE_S + 10)
            if thread.is_alive():
                self.problems.append("a request hangs")

    def _stream(self):
        while not self._stop.is_set():
            started = time.monotonic()
            text, status, error = "", 0, ""
            try:
                with (
                    self.stack.client(timeout=self._waits_s) as client,
                    client.stream("POST", "/v1/chat/completions", json=self._chat) as r,
                ):
                    status = r.status_code
                    for part in r.iter_text():
                        text += part
            except httpx.TimeoutException:
                self.problems.append(f"a stream made no progress for {self._waits_s} s")
            except httpx.HTTPError as e:
                error = repr(e)
            took = time.monotonic() - started
            self._judge(status, text, error, took)
            self._stop.wait(0.2 if status != 200 else min(self._rests * took, REST_AT_MOST_S))

    def _judge(self, status, text, error, seconds):
        if seconds > WHOLE_S:
            self.problems.append(f"a request took {seconds:.0f} s")
        if status == 200 and text.endswith("data: [DONE]\n\n"):
            self.complete += 1
            if '"finish_reason":"' not in text:
                self.problems.append("a stream without an end looks complete")
            return
        at = time.monotonic() - self._started
        self.incomplete.append(f"at {at:.0f} s, after {seconds:.1f} s: {status} {text[-400:]}{error}")
        if status == 200:
            self.cut += 1
        else:
            self.refused += 1

    def _upload(self):
        i = 0
        while not self._stop.is_set():
            i += 1
            data = f"# Note {i}\n\nThe note number {i} says {os.urandom(8).hex()}.\n".encode()
            try:
                with self.stack.client() as client:
                    files = {"file": (f"note{i}.md", data)}
                    r = client.post("/v1/files", files=files, data={"purpose": "assistants"})
                if r.status_code == 200:
                    self.acknowledged[r.json()["id"]] = data
            except httpx.HTTPError:
                pass
            self._stop.wait(1 if self._rests else 0.1)


def works(stack):
    try:
        with stack.client() as client:
            r = client.post("/v1/chat/completions", json=CHAT | {"stream": False, "max_tokens": 4})
            search = client.post("/v1/embeddings", json={"model": "all-minilm-l6-v2", "input": "x"})
        return r.status_code == 200 and search.status_code == 200
    except httpx.HTTPError:
        return False


def healed(stack, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if works(stack):
            return True
        time.sleep(0.5)
    return False


def nothing_lost(stack, load):
    with stack.client() as client:
        for file_id, data in load.acknowledged.items():
            r = client.get(f"/v1/files/{file_id}/content")
            assert r.status_code == 200, f"an acknowledged file is gone: {r.text}"
            assert r.content == data
            assert client.delete(f"/v1/files/{file_id}").status_code == 200
