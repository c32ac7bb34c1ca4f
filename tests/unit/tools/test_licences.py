"""Licences: what packages say of themselves, and who needs a reason."""

from __future__ import annotations

from email.parser import Parser

import pytest

from tools import licences


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ("License-Expression: MIT OR ISC\nClassifier: License :: OSI Approved :: MIT License", ["MIT OR ISC"]),
        ("Classifier: License :: OSI Approved\nLicense: EPL-2.0 OR MIT\n and so on", ["EPL-2.0 OR MIT"]),
        ("Classifier: License :: B\nClassifier: License :: OSI Approved :: A\nClassifier: Typing :: Typed", ["A", "B"]),
        ("Name: x", []),
        ("License: UNKNOWN", []),
        ("License: unknown\nClassifier: License :: OSI Approved :: MIT License", ["MIT License"]),
    ],
)
def test_declared_licences_are_read(metadata, found):
    assert list(licences.declared_licences(Parser().parsestr(metadata))) == found


@pytest.mark.parametrize(
    ("found", "needs"),
    [
        (["MIT"], False),
        (["LGPL-3.0-only"], False),
        (["GNU Lesser General Public License v3 (LGPLv3)"], False),
        (["EPL-2.0 OR GPL-2.0-or-later"], False),
        (["GPL-2.0-only OR AGPL-3.0-only"], True),
        (["MIT AND GPL-3.0-only"], True),
        (["(MIT OR Apache-2.0) AND GPL-3.0-only"], True),
        (["GPLv2"], True),
        (["MIT License", "GNU General Public License v3 (GPLv3)"], True),
        (["GNU Affero General Public License v3"], True),
        ([], True),
    ],
)
def test_strong_copyleft_needs_a_reason(found, needs):
    assert licences.needs_reason(found) == needs


def test_every_locked_package_is_free_to_use_or_has_a_reason():
    """And every reason is needed."""
    assert {name for name, found in licences.licences_by_package().items() if licences.needs_reason(found)} == set(
        licences.REASONS
    )
