"""Buffers of resumable streams: never a frame too many or too few, and bounds that hold."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.api.http_error import status_of
from serving.api.resumable.buffer import OVERHEAD, READERS, Buffers
from serving.config import Limits
from serving.protocol.errors import ApiError
from tests.callers.frames import frames, numbers


def piece_wise(data, cuts):
    at = 0
    for cut in [*cuts, len(data)]:
        yield data[at : at + cut]
        at += cut


@given(
    texts=st.lists(st.binary(max_size=12).map(lambda b: b.hex().encode()), min_size=1, max_size=12),
    cuts=st.lists(st.integers(1, 30), max_size=20),
    stops=st.lists(st.integers(0, 12), max_size=5),
)
def test_resumed_streams_equal_uninterrupted_ones(texts, cuts, stops):
    async def run():
        buffers = Buffers(Limits())
        stream = buffers.begin("s")
        sent = b"".join(b"data: " + text + b"\n\n" for text in texts)
        whole, resumed = [], b""

        async def write():
            for piece in piece_wise(sent, cuts):
                await stream.add(piece)
                await asyncio.sleep(0)
            buffers.end(stream)

        async def read_whole():
            with stream.reader(0) as pieces:
                whole.extend([p async for p in pieces])

        async def read_in_parts():
            nonlocal resumed
            after = 0
            for stop in [*sorted(stops), None]:
                with stream.reader(after) as pieces:
                    async for piece in pieces:
                        for one in frames(piece):
                            [number] = numbers("s", [one])
                            if stop is not None and number > stop:
                                break
                            assert number == after + 1
                            after, resumed = number, resumed + one
                        if stop is not None and after >= stop:
                            break

        await asyncio.gather(write(), read_whole(), read_in_parts())
        assert resumed == b"".join(whole)
        assert [f.split(b"\n", 1)[1] for f in frames(resumed)] == [b"data: " + text + b"\n\n" for text in texts]
        assert not stream.readers

    asyncio.run(run())


async def test_the_oldest_unneeded_frames_are_dropped():
    buffers = Buffers(Limits(stream_buffer_bytes=OVERHEAD + 200))
    stream = buffers.begin("s")
    for n in range(50):
        await stream.add(b"data: %d\n\n" % n)
    assert stream.size <= OVERHEAD + 200
    with pytest.raises(ApiError) as lost, stream.reader(0):
        pass
    assert (status_of(lost.value), lost.value.code) == (410, "stream_lost")
    with stream.reader(49) as pieces:
        assert numbers("s", frames(await anext(pieces))) == [50]
        writing = asyncio.create_task(stream.add(b"".join(b"data: %d\n\n" % n for n in range(50))))
        found = []
        while len(found) < 50:
            found += frames(await anext(pieces))
        await writing
        assert numbers("s", found) == list(range(51, 101))


async def test_a_departed_reader_does_not_block_the_writer():
    stream = Buffers(Limits(stream_buffer_bytes=OVERHEAD + 100)).begin("s")
    with stream.reader(0):
        writing = asyncio.create_task(stream.add(b"data: x\n\n" * 50))
        await asyncio.sleep(0)
        assert not writing.done()
    await writing


async def test_a_dead_reader_does_not_block_its_successor():
    stream = Buffers(Limits(stream_buffer_bytes=OVERHEAD + 200)).begin("s")
    with stream.reader(0) as dead, stream.reader(0) as alive:
        writing = asyncio.create_task(stream.add(b"data: x\n\n" * 50))
        found = []
        while len(found) < 50:
            found += frames(await anext(alive))
        await writing
        assert numbers("s", found) == list(range(1, 51))
        with pytest.raises(ApiError) as lost:
            await anext(dead)
        assert lost.value.code == "stream_lost"


async def test_over_the_total_limit_the_oldest_ended_stream_is_dropped():
    buffers = Buffers(Limits(stream_buffers_bytes=3 * (OVERHEAD + 100)))
    for name in "abc":
        stream = buffers.begin(name)
        await stream.add(b"data: " + b"x" * 70 + b"\n\n")
        buffers.end(stream)
    assert all(buffers.get(name) for name in "abc")
    running = buffers.begin("d")
    await running.add(b"data: x\n\n")
    with pytest.raises(ApiError, match="no longer available"):
        buffers.get("a")
    assert buffers.get("b")
    for _ in range(200):
        await running.add(b"data: " + b"x" * 70 + b"\n\n")
        assert buffers.size <= 3 * (OVERHEAD + 100)
    for name in "bc":
        with pytest.raises(ApiError):
            buffers.get(name)


async def test_read_frames_count_until_dropped():
    buffers = Buffers(Limits(stream_buffers_bytes=3 * (OVERHEAD + 100), stream_keep_s=0.01))
    stream = buffers.begin("a")
    await stream.add(b"data: x\n\n" * 2)
    with stream.reader(0) as slow:
        buffers.end(stream)
        await asyncio.sleep(0.05)
        assert buffers.get("a").size == stream.size > OVERHEAD  # its time is over, and somebody reads it
        running = buffers.begin("b")
        for _ in range(40):
            await running.add(b"data: " + b"x" * 70 + b"\n\n")
            assert buffers.size <= 3 * (OVERHEAD + 100)
        with pytest.raises(ApiError) as lost:
            await anext(slow)
        assert lost.value.code == "stream_lost"
    buffers.end(running)
    while buffers.size:
        await asyncio.sleep(0.01)


async def test_a_stream_without_frames_counts_too():
    buffers = Buffers(Limits(stream_buffers_bytes=10 * OVERHEAD))
    for n in range(100):
        buffers.end(buffers.begin(str(n)))
    assert buffers.size <= 10 * OVERHEAD


async def test_readers_of_one_stream_are_bounded():
    stream = Buffers(Limits()).begin("s")
    with contextlib.ExitStack() as stack:
        for _ in range(READERS):
            stack.enter_context(stream.reader(0))
        with pytest.raises(ApiError) as refused:
            stack.enter_context(stream.reader(0))
        assert status_of(refused.value) == 429
    with stream.reader(0):
        pass


async def test_a_stream_is_forgotten_after_its_time():
    buffers = Buffers(Limits(stream_keep_s=0.01))
    stream = buffers.begin("s")
    buffers.end(stream)
    async with asyncio.timeout(20):
        while buffers.size:
            await asyncio.sleep(0.01)
    with pytest.raises(ApiError, match="no longer available"):
        buffers.get("s")
