"""What clients of the gateway ask for: docs/spec/gateway.md, sections 1 to 3."""

import pytest
from multidict import CIMultiDict

from modelreg.gateway.request import PROBE, Form, Scope, Unacceptable, parse_range, parse_request
from tests.store.blocks import leaf, node

CID, BLOCK = leaf(b"weights")
NODE, _ = node({"a": 1})


def ask(path=f"/ipfs/{CID}", query=None, **headers):
    return parse_request(path, query or {}, CIMultiDict(headers))


def refused(*arguments, **options):
    with pytest.raises(Unacceptable) as caught:
        ask(*arguments, **options)
    return caught.value.status


@pytest.mark.parametrize(
    ("query", "accept", "form"),
    [
        ({"format": "raw"}, "", Form.RAW),
        ({"format": "car"}, "", Form.CAR),
        ({}, "application/vnd.ipld.raw", Form.RAW),
        ({}, "text/html, application/vnd.ipld.car; version=1; order=dfs; dups=y, */*;q=0.1", Form.CAR),
        ({"format": "raw"}, "application/vnd.ipld.car", Form.RAW),
    ],
)
def test_the_form_is_in_the_parameter_or_else_in_the_header(query, accept, form):
    assert ask(query=query, Accept=accept).form is form


def test_the_cid_and_the_scope_are_read():
    assert ask(f"/ipfs/{NODE}", {"format": "car", "dag-scope": "block"}).scope is Scope.BLOCK
    assert ask(f"/ipfs/{NODE}", {"format": "car"}).scope is Scope.ALL
    assert ask(f"/ipfs/{NODE}/", {"format": "raw"}).cid == NODE
    assert ask(f"/ipfs/{PROBE}", {"format": "raw"}).cid is None


def test_tags_differ_where_the_bytes_do():
    queries = [
        {"format": "raw"},
        {"format": "car"},
        {"format": "car", "dag-scope": "block"},
        {"format": "car", "dag-scope": "entity"},
    ]
    assert len({ask(query=query).etag for query in queries}) == 4


@pytest.mark.parametrize(
    ("status", "path", "query", "accept"),
    [
        (406, f"/ipfs/{CID}", {}, "text/html"),
        (406, f"/ipfs/{CID}", {}, ""),
        (406, f"/ipfs/{CID}", {"format": "json"}, ""),
        (406, f"/ipfs/{CID}", {"format": "ipns-record"}, ""),
        (400, f"/ipfs/{CID}/a/b", {"format": "raw"}, ""),
        (400, "/ipfs/", {"format": "raw"}, ""),
        (400, "/ipfs/..%2f", {"format": "raw"}, ""),
        (400, "/ipfs/" + "a" * 5000, {"format": "raw"}, ""),
        (404, "/ipfs/QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn", {"format": "raw"}, ""),
        (404, f"/ipfs/{str(CID).upper()}", {"format": "raw"}, ""),
        (400, f"/ipfs/{CID}", {"format": "car", "car-version": "2"}, ""),
        (400, f"/ipfs/{CID}", {}, "application/vnd.ipld.car; version=2"),
        (400, f"/ipfs/{CID}", {"format": "car", "dag-scope": "most"}, ""),
    ],
)
def test_what_is_refused(status, path, query, accept):
    assert refused(path, query, Accept=accept) == status


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, None),
        ("bytes=0-1", (0, 2)),
        ("bytes=2-", (2, 7)),
        ("bytes=2-1000", (2, 7)),
        ("bytes=-3", (4, 7)),
        ("bytes=-30", (0, 7)),
        ("bytes=0-1,3-4", None),
        ("words=0-1", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
    ],
)
def test_ranges(header, part):
    assert parse_range(header, 7) == part


@pytest.mark.parametrize("header", ["bytes=7-", "bytes=9-12", "bytes=-0", "bytes=4-2"])
def test_ranges_beyond_the_end(header):
    with pytest.raises(Unacceptable) as caught:
        parse_range(header, 7)
    assert caught.value.status == 416
