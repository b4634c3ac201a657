"""The gateway over HTTP: docs/spec/gateway.md."""

import asyncio
import contextlib
import io

import aiohttp
import pytest
from aiohttp import web

from modelreg.format.car import CarReader
from modelreg.gateway import BlockServer
from modelreg.gateway.request import PROBE
from tests.reference.car import reference_read
from tests.store.blocks import dag, leaf, node
from tests.store.memory import MemoryStore

CID, BLOCK = leaf(b"weights")
DAG = dag(1)
ROOT = DAG[-1][0]


@pytest.fixture
def store():
    memory = MemoryStore()
    memory.put_many([(CID, BLOCK), *DAG])
    return memory


@contextlib.asynccontextmanager
async def served(store):
    server = web.Server(BlockServer(lambda: store).answer)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}") as session:
        yield session
    listener.close()
    await server.shutdown(1)


def ask(store, path, method="GET", **options):
    """One request; status, headers and body."""

    async def run():
        async with served(store) as session, session.request(method, path, **options) as answer:
            return answer.status, answer.headers, await answer.read()

    return asyncio.run(run())


def test_a_block_comes_with_the_headers_of_the_specification(store):
    status, headers, body = ask(store, f"/ipfs/{CID}?format=raw")
    assert (status, body) == (200, BLOCK)
    assert headers["Content-Type"] == "application/vnd.ipld.raw"
    assert headers["Etag"] == f'"{CID}.raw"'
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert headers["X-Ipfs-Path"] == f"/ipfs/{CID}"
    assert headers["X-Ipfs-Roots"] == str(CID)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Disposition"] == f'attachment; filename="{CID}.bin"'


@pytest.mark.parametrize("form", ["raw", "car"])
def test_head_gives_the_headers_alone(store, form):
    status, headers, body = ask(store, f"/ipfs/{ROOT}?format={form}", "HEAD")
    assert (status, body) == (200, b"")
    assert f"application/vnd.ipld.{form}" in headers["Content-Type"]


def test_a_part_of_a_block(store):
    status, headers, body = ask(store, f"/ipfs/{CID}?format=raw", headers={"Range": "bytes=2-4"})
    assert (status, body, headers["Content-Range"]) == (206, BLOCK[2:5], "bytes 2-4/7")
    assert ask(store, f"/ipfs/{CID}?format=raw", headers={"Range": "bytes=9-"})[0] == 416


def test_the_probe_is_always_there():
    assert ask(MemoryStore(), f"/ipfs/{PROBE}?format=raw")[::2] == (200, b"")
    assert ask(MemoryStore(), f"/ipfs/{PROBE}?format=raw", "HEAD")[0] == 200


@pytest.mark.parametrize("known", ['"{cid}.raw"', 'W/"{cid}.raw"', '"other", "{cid}.raw"', "*"])
def test_what_the_client_has_is_not_sent_again(store, known):
    headers = {"If-None-Match": known.format(cid=CID)}
    assert ask(store, f"/ipfs/{CID}?format=raw", headers=headers)[::2] == (304, b"")
    assert ask(store, f"/ipfs/{CID}?format=raw", headers={"If-None-Match": '"other"'})[0] == 200


def test_absent_and_damaged_blocks_are_not_there(store):
    absent, _ = leaf(b"absent")
    assert ask(store, f"/ipfs/{absent}?format=raw")[0] == 404
    assert ask(store, f"/ipfs/{absent}?format=car")[0] == 404
    assert ask(store, f"/ipfs/{absent}?format=raw", headers={"Cache-Control": "only-if-cached"})[0] == 412
    store.kept[CID] = b"weightS"
    status, headers, body = ask(store, f"/ipfs/{CID}?format=raw")
    assert (status, headers["Cache-Control"]) == (404, "no-store")
    assert b"weightS" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_methods_are_refused(store, method):
    status, headers, _ = ask(store, f"/ipfs/{CID}?format=raw", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_an_archive_holds_the_whole_dag_once_and_depth_first(store):
    status, headers, body = ask(store, f"/ipfs/{ROOT}?format=car")
    assert status == 200
    assert headers["Content-Type"] == "application/vnd.ipld.car; version=1; order=dfs; dups=n"
    reader = CarReader(io.BytesIO(body).read)
    assert reader.roots == (ROOT,)
    found = list(reader)
    assert sorted(map(str, dict(found))) == sorted(str(cid) for cid, _ in DAG)
    assert found[0][0] == ROOT
    first, second = (cid for cid, _ in DAG[10:12])
    assert [cid for cid, _ in found][1] == first
    assert [cid for cid, _ in found].index(second) == 7
    assert reference_read(body)


@pytest.mark.parametrize("scope", ["block", "entity"])
def test_an_archive_of_the_root_alone(store, scope):
    _, _, body = ask(store, f"/ipfs/{ROOT}?format=car&dag-scope={scope}")
    assert [cid for cid, _ in CarReader(io.BytesIO(body).read)] == [ROOT]


def test_a_shared_subtree_is_sent_once():
    """Else a few blocks could stand for any number of bytes."""
    store = MemoryStore()
    cid, block = leaf(b"leaf")
    store.put_many([(cid, block)])
    for _ in range(40):
        cid, block = node([cid, cid])
        store.put_many([(cid, block)])
    _, _, body = ask(store, f"/ipfs/{cid}?format=car")
    assert len(list(CarReader(io.BytesIO(body).read))) == 41


def test_an_archive_that_lacks_a_block_breaks_off(store):
    del store.kept[DAG[7][0]]
    with pytest.raises(aiohttp.ClientPayloadError):
        ask(store, f"/ipfs/{ROOT}?format=car")


def test_too_many_requests_at_once_are_sent_away(monkeypatch, store):
    monkeypatch.setattr("modelreg.gateway.server._AT_ONCE", 0)
    status, headers, _ = ask(store, f"/ipfs/{CID}?format=raw")
    assert (status, headers["Retry-After"]) == (503, "1")


def test_a_client_that_reads_nothing_loses_its_connection(monkeypatch):
    monkeypatch.setattr("modelreg.gateway.server._WRITE_SECONDS", 0.2)
    store, blocks = MemoryStore(), [leaf(bytes([n]) * (1 << 20)) for n in range(64)]
    root, block = node([cid for cid, _ in blocks])
    store.put_many([*blocks, (root, block)])

    async def run():
        async with served(store) as session, session.get(f"/ipfs/{root}?format=car") as answer:
            await asyncio.sleep(1)
            return await answer.read()

    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
        asyncio.run(run())
