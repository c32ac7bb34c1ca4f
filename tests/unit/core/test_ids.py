from __future__ import annotations

import re

from serving.core.ids import new_id


def test_ids_have_their_prefix_and_128_bits() -> None:
    assert re.fullmatch(r"file-[0-9a-f]{32}", new_id("file"))
    assert re.fullmatch(r"chatcmpl-[0-9a-f]{32}", new_id("chatcmpl"))
    assert re.fullmatch(r"vs_[0-9a-f]{32}", new_id("vs"))
    assert len({new_id("job") for _ in range(1000)}) == 1000
