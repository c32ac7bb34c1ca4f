"""A sealed file is read by its key alone, and whole or not at all."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.store.objects import sealed
from serving.store.objects.sealed import HEADER, TAG, Sealing, Unreadable, is_sealed, read_key, unseal, write_key

KEY = bytes(range(32))
WRITTEN = base64.b64encode(KEY).decode()
CHUNK = 16


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed, "CHUNK", CHUNK)
        yield


def seal(*parts: bytes, key: bytes = KEY) -> bytes:
    out = io.BytesIO()
    sealing = Sealing(out, key)
    for part in parts:
        sealing.write(part)
    assert sealing.tell() == sum(map(len, parts))
    sealing.finish()
    return out.getvalue()


def opened(content: bytes, key: bytes = KEY) -> Any:
    return unseal(io.BytesIO(content), key)


contents = st.binary(max_size=5 * CHUNK) | st.integers(0, 5).map(lambda n: b"a" * n * CHUNK)


@given(st.lists(contents, max_size=4))
def test_sealed_data_round_trips(parts: list[bytes]):
    content = seal(*parts)
    assert is_sealed(io.BytesIO(content))
    assert opened(content).read() == b"".join(parts)
    assert seal(*parts) != content  # each file has a key of its own


@given(st.binary(max_size=5 * CHUNK), st.lists(st.tuples(st.integers(0, 6 * CHUNK), st.integers(0, 40)), max_size=8))
def test_any_part_can_be_read(content: bytes, places: list[tuple[int, int]]):
    file = opened(seal(content))
    for at, count in places:
        file.seek(at)
        assert file.read(count) == content[at : at + count]


@given(st.binary(max_size=3 * CHUNK), st.data())
def test_no_byte_can_be_changed(content: bytes, data: st.DataObject):
    made = bytearray(seal(content))
    place = data.draw(st.integers(0, len(made) - 1))
    made[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Unreadable):
        opened(bytes(made)).read()


@given(st.binary(max_size=3 * CHUNK), st.data())
def test_a_file_that_was_cut_is_none(content: bytes, data: st.DataObject):
    made = seal(content)
    with pytest.raises(Unreadable):
        opened(made[: data.draw(st.integers(0, len(made) - 1))])
    with pytest.raises(Unreadable):
        opened(made + data.draw(st.binary(min_size=1, max_size=40))).read()


def test_chunks_cannot_be_moved_or_omitted():
    made = seal(bytes(4 * CHUNK))
    step = CHUNK + TAG
    chunks = [made[HEADER + i * step : HEADER + (i + 1) * step] for i in range(4)]
    for order in ([1, 0, 2, 3], [0, 1, 3], [0, 1, 1, 2, 3], [3], [0, 1, 2]):
        with pytest.raises(Unreadable):
            opened(made[:HEADER] + b"".join(chunks[i] for i in order)).read()
    other = seal(bytes(4 * CHUNK))
    with pytest.raises(Unreadable):
        opened(made[: HEADER + step] + other[HEADER + step :]).read()


def test_another_key_is_named_and_refused():
    with pytest.raises(Unreadable, match=r"it was sealed with the key [0-9a-f]{16}, and the given one is"):
        opened(seal(b"content"), key=bytes(32))


def test_a_file_of_a_key_is_its_owners(tmp_path: Path):
    write_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert len(read_key((tmp_path / "key").read_text())) == 32
    with pytest.raises(FileExistsError):
        write_key(tmp_path / "key")


@pytest.mark.parametrize("text", ["", "short", "ü" * 43, WRITTEN[:-8], WRITTEN * 2, "\n"])
def test_invalid_keys_are_rejected_without_quoting_them(text: str):
    with pytest.raises(Unreadable) as e:
        read_key(text)
    assert "short" not in str(e.value)


def test_keys_are_read_in_both_alphabets():
    assert read_key("-_" * 21 + "8=") == read_key("+/" * 21 + "8=")
