"""What resumable streams have sent, kept in this replica's memory within bounds."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator

from serving.api.resumable.ids import stream_lost
from serving.config import Limits
from serving.engines.sse import Splitter
from serving.protocol.errors import ApiError, invalid, too_many
from serving.telemetry import metrics

OVERHEAD = 1024
"""Bytes that a stream counts beside its frames, so that many empty ones are bounded too."""

READERS = 8
"""Connections that follow one stream at once."""


class Buffers:
    """The streams of this replica, by id.

    Over `stream_buffers_bytes` the one that ended first goes first, of those that nobody reads while there are some.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._running: dict[str, Stream] = {}
        self._ended: dict[str, Stream] = {}  # in the order in which they ended
        self.size = 0

    def begin(self, id: str) -> Stream:
        """Returns a new stream."""
        stream = self._running[id] = Stream(id, self, self._limits.stream_buffer_bytes)
        return stream

    def end(self, stream: Stream) -> None:
        """Marks the end of a stream, whose frames are kept for `stream_keep_s` more."""
        self._running.pop(stream.id, None)
        self._ended[stream.id] = stream
        stream.end()
        self.fits(0)
        self._keep(stream.id)

    def _keep(self, id: str) -> None:
        """Keeps an ended stream for a while, and as long as somebody reads it."""

        def expire() -> None:
            stream = self._ended.get(id)
            if stream is not None and stream.readers:
                self._keep(id)
            else:
                self.forget(id)

        asyncio.get_running_loop().call_later(self._limits.stream_keep_s, expire)

    def get(self, id: str) -> Stream:
        """Returns a stream; raises a 410."""
        stream = self._running.get(id) or self._ended.get(id)
        if stream is None:
            raise stream_lost("This stream is no longer kept.")
        return stream

    def forget(self, id: str) -> None:
        """Drops a stream that has ended."""
        stream = self._ended.pop(id, None)
        if stream is not None:
            stream.drop()

    def fits(self, size: int) -> bool:
        """Makes room for `size` bytes, and says whether there is."""
        while self.size + size > self._limits.stream_buffers_bytes:
            unread = (s.id for s in self._ended.values() if not s.readers)
            oldest = next(unread, None) or next(iter(self._ended), None)
            if oldest is None:
                return False
            self.forget(oldest)
        return True

    def add(self, size: int) -> None:
        """Counts bytes that are kept, or with a minus bytes that no longer are."""
        self.size += size
        metrics.stream_buffer_bytes.inc(size)


class _Reader:
    __slots__ = ("next",)

    def __init__(self, next: int) -> None:
        self.next = next


class Stream:
    """The newest frames of one stream, numbered from 1: at most `limit` bytes of them.

    Over the limit the oldest go. What the newest reader has yet to be given does not: then the writer waits, as it
    would for a slow caller. Readers before it do not hold it up: their connections may be dead without knowing it.
    """

    def __init__(self, id: str, buffers: Buffers, limit: int) -> None:
        self.id = id
        self.stop = asyncio.Event()  # set when nobody wants the answer any more
        self.over = asyncio.Event()  # set when no frame will come any more
        self.readers: dict[_Reader, None] = {}  # in the order in which they came
        self.size = 0
        self._buffers = buffers
        self._limit = limit
        self._splitter = Splitter()
        self._frames: deque[bytes] = deque()
        self._next = 1
        self._changed = asyncio.Event()
        self._resize(OVERHEAD)

    async def add(self, data: bytes) -> None:
        """Takes bytes of an event stream; each whole frame gets its number."""
        for frame in self._splitter.feed(data):
            numbered = b"id: %s.%d\n%s\n\n" % (self.id.encode(), self._next, frame)
            await self._make_room(len(numbered))
            self._frames.append(numbered)
            self._resize(len(numbered))
            self._next += 1
        self._tell()

    def end(self) -> None:
        """No frame comes any more."""
        self.over.set()
        self._tell()

    def drop(self) -> None:
        """Keeps no frame any more: who still reads is told that the stream is lost."""
        self._frames.clear()
        self._resize(-self.size)
        self._tell()

    @contextlib.contextmanager
    def reader(self, after: int) -> Iterator[AsyncIterator[bytes]]:
        """Gives the frames after number `after`, and then those to come, in pieces of whole frames.

        Raises a 410 when they are no longer there, which the pieces can raise too, a 400 when `after` has not been, a
        429 over `READERS`.
        """
        if after >= self._next:
            raise invalid("Last-Event-ID is of an event that has not been.", "last-event-id")
        if after + 1 < self._first:
            raise _gone()
        if len(self.readers) >= READERS:
            raise too_many("Too many connections follow this stream.")
        reader = _Reader(after + 1)
        self.readers[reader] = None
        try:
            yield self._pieces(reader)
        finally:
            del self.readers[reader]
            self._tell()

    async def _pieces(self, reader: _Reader) -> AsyncIterator[bytes]:
        while True:
            if reader.next == self._next:
                if self.over.is_set():
                    return
                await self._changed.wait()
                continue
            if reader.next < self._first:
                raise _gone()
            piece = b"".join(self._frames[at] for at in range(reader.next - self._first, len(self._frames)))
            reader.next = self._next
            self._tell()
            yield piece

    @property
    def _first(self) -> int:
        return self._next - len(self._frames)

    async def _make_room(self, size: int) -> None:
        while (over := self.size + size > self._limit) or not self._buffers.fits(size):
            if not self._frames:
                return
            newest = next(reversed(self.readers), None)
            if newest is None or newest.next > self._first:
                self._resize(-len(self._frames.popleft()))
            elif over:
                self._tell()
                await self._changed.wait()
            else:
                return  # the bound of all streams holds no reader of one up

    def _resize(self, by: int) -> None:
        self.size += by
        self._buffers.add(by)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _gone() -> ApiError:
    return stream_lost("The events after this one are no longer kept.")
