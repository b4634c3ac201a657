"""Deep JSON must not reach the parser."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.errors import FormatError
from modelreg.format.json_depth import require_shallow

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=200,
)


@given(JSON, st.sampled_from([None, 1]), st.booleans())
def test_what_is_shallow_passes(value, indent, ascii_only):
    require_shallow(json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode(), "it")


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 65,
        b"[" * 10_000_000,
        b'{"a":' * 100_000,
        b'["' + b"]" * 70 + b'",' + b"[" * 70,
        b'["\\"' + b"]" * 70 + b'",' + b"[" * 70,
        b'[" \\\\",' + b"[" * 70,
    ],
)
def test_deep_nesting_is_refused(raw):
    with pytest.raises(FormatError, match=r"nested at most|strings and lists"):
        require_shallow(raw, "it")


@pytest.mark.parametrize("raw", [b'"\\"' * 400_000, b'"' + b'\\"' * 900_000, b'"' + b"[" * 900_000 + b"\\"])
def test_hostile_strings_take_no_time(raw):
    require_shallow(b"[" * 60 + b"]" * 60 + b"[" * 20 + raw, "it")


def test_brackets_in_strings_do_not_count():
    require_shallow(json.dumps(["[" * 1000, '"' + "{" * 1000, "\\" + "[" * 500]).encode(), "it")
