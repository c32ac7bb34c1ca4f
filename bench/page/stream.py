"""A long conversation: frames, tasks and reactions while an answer streams into it, and the memory that it takes."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench import machine, results
from bench.load import quantile
from bench.page.gateway import PageGateway, running_browser, running_gateway
from bench.page.upstream import TOKEN_CHARACTERS, ScriptedModel, conversation_items
from bench.processes import BenchError
from bench.results import Goal
from tests.servers.browser import Chromium, Page

MESSAGES, WINDOW = 2000, 200
ITEMS_OF_A_REQUEST = 20
TOKENS_PER_SECOND = 200
CPU_SLOWDOWN = 4
ANSWERS, ANSWER_TOKENS = 100, 125
WARM_UP = 5
"""Answers before the growth of the heap is measured, for caches that do not grow further."""
KEY_EVERY_S = 0.25
SECONDS, MEASURED_SHARE = 15, 0.8
"""How long an answer streams, and the share of it that is measured, since the last tokens end the answer."""
MB = 1_000_000
FRAME_MS, TASK_MS, INP_MS, BUSY_MS = 20, 50, 200, 150
ELEMENTS_MOST, LEXED, HEAP_MB, GROWTH_MB = 6000, 20, 30, 2
TIMEOUT_S = 120

OBSERVE = """(() => {
  const seen = (window.headraceBench = { frames: [], tasks: [], inputs: {} });
  let before = performance.now();
  const frame = (now) => {
    seen.frames.push(now - before);
    before = now;
    if (!seen.ended) requestAnimationFrame(frame);
  };
  requestAnimationFrame((now) => { before = now; requestAnimationFrame(frame); });
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) seen.tasks.push(entry.duration);
  }).observe({ type: "longtask" });
  new PerformanceObserver((list) => {
    for (const { interactionId, duration, startTime, processingEnd } of list.getEntries()) {
      if (!interactionId) continue;
      const longest = (seen.inputs[interactionId] ??= { shown: 0, handled: 0 });
      longest.shown = Math.max(longest.shown, duration);
      longest.handled = Math.max(longest.handled, processingEnd - startTime);
    }
  }).observe({ type: "event", durationThreshold: 16 });
})()"""
WRITING = "document.querySelector('.answer[aria-busy=true] .text p, .answer[aria-busy=true] .text ul') !== null"
ANSWERED = "document.querySelector('.answer[aria-busy=true]') === null"
ELEMENTS = "document.querySelectorAll('*').length"
NODE_COUNT = """(() => {
  const walker = document.createTreeWalker(document, NodeFilter.SHOW_ALL);
  let count = 1;
  while (walker.nextNode()) count += 1;
  return count;
})()"""
# The page shows no such figure: the documents are found among all objects.
LONGEST = """function () {
  const documents = this.filter((one) => Object.hasOwn(one, "lexed") && Object.hasOwn(one, "frozen"));
  const newest = documents.toSorted((one, other) => one.received.length - other.received.length).at(-1);
  return { lexed: newest?.lexed ?? 0, received: newest?.received.length ?? 0 };
}"""


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """What was seen while an answer streamed; times in milliseconds."""

    frames: int
    frame_p95: float
    long_tasks: int
    longest_task: float
    """0 if no task took 50 ms, from which browsers report them."""
    inp: float
    """The longest time from a key to the picture that shows it, 0 without a key."""
    handled: float
    """The longest time from a key until the page has handled it."""
    keys: int
    busy: float
    """Processor time of the main thread in each second; `script` and `layout` are parts of it."""
    script: float
    layout: float
    received: int
    """Characters of the answer that the page has at its end."""
    lexed: float
    """Characters that the lexer read for each of them."""


def fill_conversation(gateway: PageGateway, messages: int) -> str:
    """Makes a conversation with so many messages and returns its id."""
    with gateway.up.client() as http:
        id: str = http.post("/v1/conversations", json={}).raise_for_status().json()["id"]
        for first in range(0, messages, ITEMS_OF_A_REQUEST):
            items = conversation_items(first, min(ITEMS_OF_A_REQUEST, messages - first))
            http.post(f"/v1/conversations/{id}/items", json={"items": items}).raise_for_status()
    return id


@contextmanager
def read_conversation(browser: Chromium, gateway: PageGateway, id: str, messages: int) -> Iterator[Page]:
    """Opens a conversation, reads all its messages by the button at its top, and goes back to the newest."""
    with browser.page(412, 915) as page:
        gateway.sign_in(page)
        page.open(f"{gateway.url}/c/{id}")
        page.until(f"document.querySelector('.messages')?.textContent.includes('Answer {messages - 1}.')")
        page.until("document.querySelector('.chooser select')?.value")
        for _ in range(messages):
            more = page.evaluate("document.querySelector('article')?.textContent.includes('Question 0:')")
            if more:
                break
            first = json.dumps(page.evaluate("document.querySelector('article').textContent"))
            page.evaluate("document.querySelector('.messages > .quiet').click()")
            page.until(f"document.querySelector('article').textContent !== {first}")
        else:
            raise BenchError("the first message was not reached")
        page.evaluate("document.querySelector('.to-end')?.click()")
        page.until(f"document.querySelector('.messages').textContent.includes('Answer {messages - 1}.')")
        yield page


def ask(page: Page, text: str) -> None:
    """Sends a question."""
    page.evaluate("document.querySelector('#message').focus()")
    page.ask("Input.insertText", text=text)
    page.press("Enter", 13, "\r")


def stream(page: Page, model: ScriptedModel, seconds: float, *, slowdown: float, typing: bool) -> StreamFigures:
    """Streams an answer for so many seconds, and returns what the page took for it; meanwhile somebody may be typing.

    Raises `BenchError` if the page drew nothing, or has another text at the end.
    """
    model.tokens, model.per_second = int(seconds * TOKENS_PER_SECOND), TOKENS_PER_SECOND
    page.ask("Performance.disable")
    page.ask("Performance.setTimeDomain", timeDomain="threadTicks")
    page.ask("Performance.enable")
    page.ask("Emulation.setCPUThrottlingRate", rate=slowdown)
    ask(page, "How high does the water rise?")
    page.until(WRITING)
    page.evaluate(OBSERVE)
    before, began = _metrics(page), time.monotonic()
    while time.monotonic() - began < seconds * MEASURED_SHARE:
        if typing:
            page.press("a", 65, "a")
        time.sleep(KEY_EVERY_S)
    after, elapsed = _metrics(page), time.monotonic() - began
    seen = json.loads(page.evaluate("(headraceBench.ended = true, JSON.stringify(headraceBench))"))
    _until_answered(page)
    page.ask("Emulation.setCPUThrottlingRate", rate=1)
    page.evaluate("document.querySelector('#message').select()")
    page.press("Backspace", 8)
    document = _longest_document(page)
    if not seen["frames"]:
        raise BenchError("the page drew nothing while the answer streamed")
    if document["received"] != model.tokens * TOKEN_CHARACTERS:
        raise BenchError(f"the page has {document['received']} characters of {model.tokens * TOKEN_CHARACTERS}")
    keys = seen["inputs"].values()

    def spent(*names: str) -> float:
        return sum(1000 * (after[name] - before[name]) / elapsed for name in names)

    return StreamFigures(
        frames=len(seen["frames"]),
        frame_p95=quantile(sorted(seen["frames"]), 0.95),
        long_tasks=len(seen["tasks"]),
        longest_task=max(seen["tasks"], default=0.0),
        inp=max((each["shown"] for each in keys), default=0.0),
        handled=max((each["handled"] for each in keys), default=0.0),
        keys=len(keys),
        busy=spent("TaskDuration"),
        script=spent("ScriptDuration"),
        layout=spent("LayoutDuration", "RecalcStyleDuration"),
        received=document["received"],
        lexed=document["lexed"] / document["received"],
    )


def _metrics(page: Page) -> dict[str, float]:
    return {each["name"]: each["value"] for each in page.ask("Performance.getMetrics")["metrics"]}


def _until_answered(page: Page) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not page.evaluate(ANSWERED):
        if time.monotonic() > deadline:
            raise BenchError(f"the answer has not ended after {TIMEOUT_S} s")
        time.sleep(0.05)


def heap_bytes(page: Page) -> int:
    """Returns the bytes of JavaScript's heap that are in use after a collection."""
    page.events()
    for _ in range(2):
        page.ask("HeapProfiler.collectGarbage")
    return int(page.ask("Runtime.getHeapUsage")["usedSize"])


def _longest_document(page: Page) -> dict[str, int]:
    """Returns the characters that the longest answer of the page has, and that the lexer read for it."""
    prototype = page.ask("Runtime.evaluate", expression="Object.prototype", objectGroup="bench")["result"]["objectId"]
    found = page.ask("Runtime.queryObjects", prototypeObjectId=prototype, objectGroup="bench")["objects"]["objectId"]
    told = page.ask("Runtime.callFunctionOn", objectId=found, functionDeclaration=LONGEST, returnByValue=True)
    page.ask("Runtime.releaseObjectGroup", objectGroup="bench")
    document: dict[str, int] = told["result"]["value"]
    if not document["received"]:
        raise BenchError("no document of an answer was found in the page")
    return document


def grow(page: Page, model: ScriptedModel, answers: int) -> tuple[int, int]:
    """Asks for answers of 500 characters, and returns the bytes of the heap before and after."""
    model.tokens, model.per_second = ANSWER_TOKENS, 1e9

    def answer(number: int) -> None:
        ask(page, f"Answer number {number}?")
        page.until(f"[...document.querySelectorAll('article')].at(-2)?.textContent.includes('number {number}?')")
        _until_answered(page)

    for number in range(WARM_UP):
        answer(number)
    first = heap_bytes(page)
    for number in range(WARM_UP, WARM_UP + answers):
        answer(number)
    return first, heap_bytes(page)


def one_round(
    browser: Chromium, gateway: PageGateway, model: ScriptedModel, messages: int, seconds: float, answers: int
) -> dict[str, Any]:
    """Measures a new conversation with so many messages, and returns the row of its figures."""
    conversation = fill_conversation(gateway, messages)
    with read_conversation(browser, gateway, conversation, messages) as page:
        heap = heap_bytes(page)
        slow = stream(page, model, seconds, slowdown=CPU_SLOWDOWN, typing=True)
        fast = stream(page, model, seconds, slowdown=1, typing=False)
        elements, nodes = page.evaluate(ELEMENTS), page.evaluate(NODE_COUNT)
        articles = page.evaluate("document.querySelectorAll('article').length")
        before, after = grow(page, model, answers)
    return {
        "slow: frame p95 ms": round(slow.frame_p95, 1),
        "tasks over 50 ms": slow.long_tasks,
        "INP ms": round(slow.inp),
        "key handled ms": round(slow.handled, 1),
        "main thread ms/s": round(fast.busy),
        "script": round(fast.script),
        "layout": round(fast.layout),
        "heap MB": round(heap / MB, 1),
        f"growth MB in {answers} answers": round((after - before) / MB, 2),
        "messages drawn": articles,
        "elements": elements,
        "nodes with texts": nodes,
        "lexed for each character": round(max(slow.lexed, fast.lexed), 1),
    }


def measure(rounds: int, messages: int = MESSAGES, seconds: float = SECONDS, answers: int = ANSWERS) -> None:
    """Measures rounds, each in a page and a conversation of its own, and writes the medians."""
    facts = machine.facts()
    model = ScriptedModel()
    singles = []
    with running_gateway(model.app()) as gateway, running_browser() as browser:
        facts["versions"]["chromium"] = browser.ask("Browser.getVersion")["product"].partition("/")[2]
        for number in range(rounds):
            singles.append(one_round(browser, gateway, model, messages, seconds, answers))
            print(f"round {number + 1}: {singles[-1]}", file=sys.stderr)
    row = {name: round(statistics.median(each[name] for each in singles), 2) for name in singles[0]}
    settings = {
        "Conversation": f"{messages:,} messages, all read into the page, on a screen of 412 x 915 pixels",
        "Stream": f"{TOKENS_PER_SECOND} tokens of {TOKEN_CHARACTERS} characters a second for {seconds:.0f} s",
        "Slow": f"processor slowed {CPU_SLOWDOWN} times by the browser, with a key pressed every {KEY_EVERY_S} s",
        "Rounds": rounds,
    }
    results.write("page-stream", [row], goals(row, singles), facts, settings=settings, rounds=singles)


def goals(row: dict[str, Any], singles: Sequence[dict[str, Any]]) -> list[Goal]:
    """Returns the goals of a long conversation with the row's figures, and how far those of the rounds lie apart."""
    growth = next(name for name in row if name.startswith("growth MB"))
    most = {
        "slow: frame p95 ms": (FRAME_MS, f"slow: 95 of 100 frames within {FRAME_MS} ms"),
        "tasks over 50 ms": (0, f"slow: no task over {TASK_MS} ms"),
        "INP ms": (INP_MS, f"slow: from a key to its picture at most {INP_MS} ms"),
        "main thread ms/s": (BUSY_MS, f"at most {BUSY_MS} ms of the main thread a second"),
        "heap MB": (HEAP_MB, f"heap at most {HEAP_MB} MB"),
        growth: (GROWTH_MB, f"which grows by at most {GROWTH_MB} MB in {ANSWERS} answers"),
        "messages drawn": (WINDOW, f"at most {WINDOW} messages are drawn"),
        "elements": (ELEMENTS_MOST, f"of at most {ELEMENTS_MOST:,} elements"),
        "lexed for each character": (LEXED, f"at most {LEXED} characters lexed for each"),
    }
    found = []
    for name, (limit, text) in most.items():
        values = [each[name] for each in singles]
        spread = f" (rounds from {min(values)} to {max(values)})" if min(values) != max(values) else ""
        found.append(Goal(text + spread, row[name], row[name] <= limit))
    return found
