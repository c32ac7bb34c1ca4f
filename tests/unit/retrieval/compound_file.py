"""Writes compound files ([MS-CFB], version 3), as Outlook's messages are: storages are dicts, streams bytes."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

_SECTOR, _SMALL = 512, 64
_END, _FREE, _FAT, _NONE = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD, 0xFFFFFFFF
_CUTOFF = 4096

Storage = dict[str, Any]
"""Streams, which are bytes, and storages, by their names."""


def compound_file(root: Storage) -> bytes:
    entries: list[dict[str, Any]] = []
    small = bytearray()
    small_fat: list[int] = []
    sectors: list[bytes] = []
    fat: list[int] = []

    def chain(table: list[int], count: int) -> int:
        first = len(table)
        table += [*range(first + 1, first + count), _END][:count]
        return first if count else _END

    def store(data: bytes) -> int:
        count = -(-len(data) // _SECTOR)
        sectors.extend(data[i * _SECTOR : (i + 1) * _SECTOR].ljust(_SECTOR, b"\0") for i in range(count))
        return chain(fat, count)

    def add(name: str, content: bytes | Storage, kind: int) -> int:
        entry: dict[str, Any] = {
            "name": name,
            "kind": kind,
            "left": _NONE,
            "right": _NONE,
            "child": _NONE,
            "start": 0,
            "size": 0,
        }
        at = len(entries)
        entries.append(entry)
        if isinstance(content, bytes):
            entry["size"] = len(content)
            if len(content) >= _CUTOFF:
                entry["start"] = store(content)
            else:
                count = -(-len(content) // _SMALL)
                small.extend(content.ljust(count * _SMALL, b"\0"))
                entry["start"] = chain(small_fat, count)
            return at
        children = [add(n, c, 2 if isinstance(c, bytes) else 1) for n, c in content.items()]
        # A tree that leans to one side is a tree.
        children.sort(key=lambda i: (len(entries[i]["name"]), entries[i]["name"].upper()))
        for one, following in pairwise(children):
            entries[one]["right"] = following
        entry["child"] = children[0] if children else _NONE
        return at

    add("Root Entry", root, 5)
    entries[0]["start"], entries[0]["size"] = store(bytes(small)), len(small)
    directory = b""
    for entry in entries:
        name = entry["name"].encode("utf-16-le")
        directory += name.ljust(64, b"\0") + struct.pack("<HBB", len(name) + 2, entry["kind"], 1)
        directory += struct.pack("<III", entry["left"], entry["right"], entry["child"]) + bytes(36)
        directory += struct.pack("<IQ", entry["start"], entry["size"])
    directory_start = store(directory.ljust(-(-len(directory) // _SECTOR) * _SECTOR, b"\0"))
    small_table = b"".join(struct.pack("<I", each) for each in small_fat)
    padded = small_table + b"\xff" * (-len(small_table) % _SECTOR)
    small_start = store(padded)
    fat_sectors = -(-(len(fat) + 8) // 128)
    first = len(fat)
    fat += [_FAT] * fat_sectors
    table = b"".join(struct.pack("<I", each) for each in fat).ljust(fat_sectors * _SECTOR, b"\xff")
    sectors.extend(table[i * _SECTOR : (i + 1) * _SECTOR] for i in range(fat_sectors))
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<IIIII", 0, fat_sectors, directory_start, 0, _CUTOFF)
    header += struct.pack("<IIII", small_start, len(padded) // _SECTOR, _END, 0)
    header += struct.pack("<109I", *range(first, first + fat_sectors), *[_FREE] * (109 - fat_sectors))
    return header + b"".join(sectors)


def outlook_message(subject: str, body: str, sender: str, recipient: str) -> bytes:
    """A message with what is shown of one: texts are streams, named by their property and type (Unicode)."""

    def stream(text: str) -> bytes:
        return text.encode("utf-16-le")

    def properties(header: int, *tags: tuple[int, int]) -> bytes:
        return bytes(header) + b"".join(struct.pack("<HHIQ", 0x1F, tag, 6, size) for tag, size in tags)

    receiver: Storage = {
        "__properties_version1.0": properties(8, *((tag, 2 * len(recipient) + 2) for tag in (0x3001, 0x39FE))),
        "__substg1.0_3001001F": stream(recipient),
        "__substg1.0_39FE001F": stream(recipient),
    }
    texts = {0x0037: subject, 0x1000: body, 0x0C1F: sender}
    return compound_file(
        {
            "__properties_version1.0": properties(32, *((tag, 2 * len(text) + 2) for tag, text in texts.items())),
            "__nameid_version1.0": {},
            **{f"__substg1.0_{tag:04X}001F": stream(text) for tag, text in texts.items()},
            "__recip_version1.0_#00000000": receiver,
        }
    )
