"""Sealed files: encrypted with a key whose destruction makes them unreadable.

AES-256-GCM in chunks, in the STREAM construction (Hoang, Reyhanitabar, Rogaway and Vizár, "Online
Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015) as in age: each file has its own key by
HKDF (RFC 5869), and a chunk's nonce is its number and whether it is the last. So no chunk can be changed, moved or
omitted, and a truncated file is invalid.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import secrets
from pathlib import Path
from typing import BinaryIO, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from serving.store.errors import StoreError

MAGIC = b"headrace sealed 1\n"
KEY = 32
SALT = 16
NAME = 8  # bytes of a key's name
HEADER = len(MAGIC) + NAME + SALT
CHUNK = 1 << 20
TAG = 16


class Unreadable(StoreError):
    """A sealed file does not match the key, or was changed or truncated."""


def new_key() -> str:
    """Returns a new key: 32 random bytes in base64."""
    return base64.b64encode(secrets.token_bytes(KEY)).decode()


def write_key(path: Path) -> None:
    """Writes a new key to a file that only its owner can read; an existing file is an error."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(new_key() + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_key(text: str) -> bytes:
    """Returns the bytes of a key; raises `Unreadable`, without repeating an invalid key."""
    try:
        key = base64.b64decode(text.strip().translate(str.maketrans("-_", "+/")), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY:
        raise Unreadable("the key must be 32 bytes in base 64: make one with `python -m serving.store key FILE`")
    return key


def is_sealed(file: BinaryIO) -> bool:
    """Returns whether a file is sealed, and rewinds it."""
    found = file.read(len(MAGIC)) == MAGIC
    file.seek(0)
    return found


class Sealing:
    """A writable file whose content is sealed. It is invalid without `finish`."""

    def __init__(self, file: BinaryIO, key: bytes) -> None:
        salt = secrets.token_bytes(SALT)
        file.write(MAGIC + _name(key) + salt)
        self._file = file
        self._cipher = _cipher(key, salt)
        self._waiting = bytearray()
        self._chunks = 0
        self._size = 0

    def write(self, content: bytes) -> int:
        self._waiting += content
        self._size += len(content)
        while len(self._waiting) > CHUNK:  # the last chunk is known only at the end
            self._seal(bytes(self._waiting[:CHUNK]), last=False)
            del self._waiting[:CHUNK]
        return len(content)

    def tell(self) -> int:
        return self._size

    def finish(self) -> None:
        """Writes the end."""
        self._seal(bytes(self._waiting), last=True)
        self._waiting.clear()

    def _seal(self, chunk: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._chunks, last), chunk, None))
        self._chunks += 1


def unseal(file: BinaryIO, key: bytes) -> BinaryIO:
    """Returns the content of a sealed file, seekable. Raises `Unreadable`, also later."""
    return cast(BinaryIO, io.BufferedReader(_Unsealed(file, key), CHUNK))


class _Unsealed(io.RawIOBase):
    def __init__(self, file: BinaryIO, key: bytes) -> None:
        super().__init__()
        file.seek(0)
        header = file.read(HEADER)
        size = file.seek(0, os.SEEK_END) - HEADER
        if size < TAG or not header.startswith(MAGIC):
            raise Unreadable("this is not a sealed file, or it was truncated")
        named = header[len(MAGIC) : -SALT]
        if named != _name(key):
            raise Unreadable(f"it was sealed with the key {named.hex()}, and the given one is {_name(key).hex()}")
        self._file = file
        self._cipher = _cipher(key, header[-SALT:])
        self._chunks = -(-size // (CHUNK + TAG))
        self._size = size - TAG * self._chunks
        self._at = 0
        self._opened: tuple[int, bytes] = self._open(self._chunks - 1)  # a truncated file is detected immediately

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any buffer, by whoever calls it
        number, offset = divmod(self._at, CHUNK)
        if number >= self._chunks:
            return 0
        if self._opened[0] != number:
            self._opened = self._open(number)
        part = self._opened[1][offset : offset + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _open(self, number: int) -> tuple[int, bytes]:
        self._file.seek(HEADER + number * (CHUNK + TAG))
        sealed = self._file.read(CHUNK + TAG)
        try:
            return number, self._cipher.decrypt(_nonce(number, number == self._chunks - 1), sealed, None)
        except (InvalidTag, ValueError):
            raise Unreadable("the sealed file is damaged, or it was changed or truncated") from None


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), KEY, salt, b"headrace sealed 1").derive(key))


def _name(key: bytes) -> bytes:
    """Returns a name of a key that reveals nothing about it."""
    return HKDF(SHA256(), NAME, None, b"headrace sealed name").derive(key)


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
