"""Buffers of resumable streams, in this replica's memory and within limits."""

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
"""Size counted for a stream in addition to its frames, so that the number of empty streams is limited too."""

READERS = 8
"""Maximum number of connections that follow one stream."""


class Buffers:
    """The streams of this replica, by id.

    Beyond `stream_buffers_bytes`, ended streams are dropped in the order of their end, unread ones first.
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
        """Marks the end of a stream, whose frames are kept for another `stream_keep_s`."""
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
            raise stream_lost("This stream is no longer available.")
        return stream

    def forget(self, id: str) -> None:
        """Drops a stream that has ended."""
        stream = self._ended.pop(id, None)
        if stream is not None:
            stream.drop()

    def fits(self, size: int) -> bool:
        """Frees space for `size` bytes if necessary, and returns whether there is enough."""
        while self.size + size > self._limits.stream_buffers_bytes:
            unread = (s.id for s in self._ended.values() if not s.readers)
            oldest = next(unread, None) or next(iter(self._ended), None)
            if oldest is None:
                return False
            self.forget(oldest)
        return True

    def add(self, size: int) -> None:
        """Counts bytes as kept, or negative numbers as dropped."""
        self.size += size
        metrics.stream_buffer_bytes.inc(size)


class _Reader:
    __slots__ = ("next",)

    def __init__(self, next: int) -> None:
        self.next = next


class Stream:
    """The newest frames of one stream, numbered from 1: at most `limit` bytes.

    Beyond the limit the oldest frames are dropped, except those that the newest reader has not read yet: then the
    writer waits, as for a slow caller. Older readers do not block it, since their connections may be dead.
    """

    def __init__(self, id: str, buffers: Buffers, limit: int) -> None:
        self.id = id
        self.stop = asyncio.Event()  # set when no more of the answer is wanted
        self.stopped = False  # whether what was said so far is wanted, with an end
        self.over = asyncio.Event()  # set when no further frames will come
        self.readers: dict[_Reader, None] = {}  # in the order of arrival
        self.size = 0
        self._buffers = buffers
        self._limit = limit
        self._splitter = Splitter()
        self._frames: deque[bytes] = deque()
        self._next = 1
        self._changed = asyncio.Event()
        self._resize(OVERHEAD)

    async def add(self, data: bytes) -> None:
        """Takes bytes of an event stream, and numbers each complete frame."""
        for frame in self._splitter.feed(data):
            numbered = b"id: %s.%d\n%s\n\n" % (self.id.encode(), self._next, frame)
            await self._make_room(len(numbered))
            self._frames.append(numbered)
            self._resize(len(numbered))
            self._next += 1
        self._tell()

    def end(self) -> None:
        """Marks the end of the stream."""
        self.over.set()
        self._tell()

    def drop(self) -> None:
        """Drops all frames: readers get the error that the stream is lost."""
        self._frames.clear()
        self._resize(-self.size)
        self._tell()

    @contextlib.contextmanager
    def reader(self, after: int) -> Iterator[AsyncIterator[bytes]]:
        """Returns the frames after number `after`, and then new ones, in chunks of whole frames.

        Raises a 410 when they are no longer kept, which the iteration can raise too, a 400 when `after` does not exist
        yet, and a 429 beyond `READERS`.
        """
        if after >= self._next:
            raise invalid("Last-Event-ID names an event that does not exist yet.", "last-event-id")
        if after + 1 < self._first:
            raise _gone()
        if len(self.readers) >= READERS:
            raise too_many("Too many connections are reading this stream.")
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
                return  # the limit of all streams blocks no reader of a single one

    def _resize(self, by: int) -> None:
        self.size += by
        self._buffers.add(by)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _gone() -> ApiError:
    return stream_lost("The events after this one are no longer available.")
