"""Syncing from gateways that are slow, lie, stall and die; the proxies before them are tests/peers.py."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.command import checked_refusal, done, execute, refused, start, tree
from tests.cli.conftest import MODEL

_UNIT = 2_000_000


@pytest.fixture
def proxied():
    """Starts proxies; gives their URLs and a function that ends them and tells what they gave."""
    running = []

    def proxy(upstream, *specs):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.peers", upstream, *specs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        running.append(process)
        return json.loads(process.stdout.readline()), lambda: json.loads(process.communicate(timeout=60)[0])

    yield proxy
    for process in running:
        process.kill()
        process.wait()


def node_with(home, url, peers):
    """A home on the chain at a URL, which fetches from these peers alone."""
    done(home, "init", "--join", url)
    config = home / "config.toml"
    lines = config.read_text().splitlines()
    peers = f"peers = {json.dumps(peers)}"
    config.write_text("\n".join(peers if line.startswith("peers") else line for line in lines))
    return home


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A publisher of 100 MiB that no encoding makes smaller, and the file."""
    root = tmp_path_factory.mktemp("large")
    file = root / "weights.bin"
    file.write_bytes(random.Random(1).randbytes(100 << 20))
    done(root / "publisher", "init")
    words = ("--model", MODEL, "--version", "1.0.0", "--effort", "0")
    done(root / "publisher", "publish", file, *words)
    return root / "publisher", file


def test_a_home_joins_and_syncs_by_a_url_alone(world, serving, tmp_path):
    url, _ = serving(world.publisher)
    done(tmp_path / "node", "init", "--join", url)
    found = done(tmp_path / "node", "sync", f"{MODEL}@1.1.0", "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(world.second)
    assert found["bytes"]["fetched"] > 0
    assert (
        done(tmp_path / "node", "sync", f"{MODEL}@1.1.0", "--to", tmp_path / "again")["bytes"]["fetched"] == 0
    )


def test_peers_are_found_among_the_nodes_on_the_ledger(world, serving, tmp_path):
    url, _ = serving(world.publisher)
    node = node_with(tmp_path / "node", url, [])
    refused(node, "sync", f"{MODEL}@1.1.0", "--to", tmp_path / "copy", code=4)
    done(world.publisher, "node", "register", "--endpoint", url, "--bond", "1")
    done(node, "sync", f"{MODEL}@1.1.0", "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(world.second)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:9/", "http://[::1", "ftp://h", "http://h\u00e9", "x" * 200]
)
def test_nodes_with_endpoints_that_lead_nowhere(world, serving, tmp_path, endpoint, monkeypatch):
    url, _ = serving(world.publisher)
    monkeypatch.setattr("modelreg_cli.node._UrlType.convert", lambda _self, value, *_: value)
    done(world.publisher, "node", "register", "--endpoint", endpoint, "--bond", "1")
    node = node_with(tmp_path / "node", url, [url])
    done(node, "sync", f"{MODEL}@1.1.0", "--to", tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(world.second)


def test_nodes_on_the_ledger_are_left_alone_if_the_settings_say_so(world, serving, tmp_path):
    url, _ = serving(world.publisher)
    done(world.publisher, "node", "register", "--endpoint", url, "--bond", "1")
    node = node_with(tmp_path / "node", url, [])
    config = node / "config.toml"
    config.write_text(config.read_text().replace("[blocks]", "[blocks]\nnodes = false"))
    refused(node, "sync", f"{MODEL}@1.1.0", "--to", tmp_path / "copy", code=4)


def test_a_chain_that_is_served_for_reading_takes_no_transactions(world, tmp_path, models):
    server = start(world.publisher, "--json", "chain", "serve", "--port", 0, "--read-only", stderr=None)
    try:
        url = json.loads(server.stdout.readline())["url"]
        done(tmp_path / "node", "init", "--join", url)
        done(tmp_path / "node", "sync", f"{MODEL}@1.0.0")
        words = ("publish", models[0], "--model", "other/model", "--version", "1.0.0", "--yes")
        refused(tmp_path / "node", *words, code=6)
    finally:
        server.terminate()
        server.communicate(timeout=30)


@pytest.mark.parametrize("fault", ["lies", "stalls", "dies", "resets", "busy", "truncates", "drips"])
def test_one_peer_of_two_misbehaves(world, serving, proxied, tmp_path, fault):
    url, _ = serving(world.publisher)
    peers, end = proxied(url, f"5e7:{fault}", "5e7")
    node = node_with(tmp_path / "node", url, peers)
    outcome = execute(node, "--json", "sync", f"{MODEL}@1.1.0", "--to", tmp_path / "copy")
    assert outcome.code == 0, outcome.err
    assert tree(tmp_path / "copy") == tree(world.second)
    lied = f"{peers[0]} gave wrong bytes" in outcome.err
    assert lied == (fault in ("lies", "truncates"))
    assert peers[1] not in outcome.err
    assert sum(peer["requests"] for peer in end()) > 0


@pytest.mark.parametrize(("faults", "code"), [(("lies", "lies"), 3), (("truncates", "lies"), 3)])
def test_all_peers_lie(world, serving, proxied, tmp_path, faults, code):
    url, _ = serving(world.publisher)
    peers, _ = proxied(url, *(f"5e7:{fault}" for fault in faults))
    node = node_with(tmp_path / "node", url, peers)
    outcome = execute(node, "--json", "sync", f"{MODEL}@1.1.0", "--to", tmp_path / "copy")
    checked_refusal(outcome, code)
    assert not (tmp_path / "copy").exists()


def test_no_peer_answers(world, serving, tmp_path):
    url, _ = serving(world.publisher)
    node = node_with(tmp_path / "node", url, ["http://127.0.0.1:9", "http://127.0.0.1:10"])
    checked_refusal(execute(node, "--json", "sync", f"{MODEL}@1.1.0"), 6)


def test_a_killed_sync_fetches_again_only_what_was_under_way(large, serving, proxied, tmp_path):
    publisher, file = large
    url, _ = serving(publisher)
    peers, end = proxied(url, "2e7")
    node = node_with(tmp_path / "node", url, peers)
    process = start(node, "sync", MODEL, "--to", tmp_path / "copy")
    time.sleep(3.5)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    staged = sum(path.stat().st_blocks * 512 for path in (tmp_path / ".copy.modelreg-staging").iterdir())
    assert 10 << 20 < staged < 95 << 20
    done(node, "sync", MODEL, "--to", tmp_path / "copy")
    assert (tmp_path / "copy" / file.name).read_bytes() == file.read_bytes()
    # The window of 64 MiB had come, and was not yet in files.
    assert end()[0]["given"] < (100 << 20) + (70 << 20)


@pytest.mark.slow
def test_the_time_that_the_healthy_bandwidth_allows(large, serving, proxied, tmp_path):
    """Eight peers of four speeds; one lies, one stalls after half of each body, one dies on its way."""
    publisher, file = large
    url, _ = serving(publisher)
    speeds = [1, 2, 4, 8, 1, 2, 4, 8]
    faults = ["", "", "", "", "dies", "", "stalls", "lies"]
    specs = [f"{speed * _UNIT}:{fault}" for speed, fault in zip(speeds, faults, strict=True)]
    ratios = []
    for attempt in range(3):
        peers, end = proxied(url, *specs)
        node = node_with(tmp_path / f"node{attempt}", url, peers)
        began = time.monotonic()
        execute(node, "ls")
        starting = time.monotonic() - began
        began = time.monotonic()
        outcome = execute(node, "--json", "sync", MODEL, "--to", tmp_path / f"copy{attempt}")
        took = time.monotonic() - began - starting
        assert outcome.code == 0, outcome.err
        assert (tmp_path / f"copy{attempt}" / file.name).read_bytes() == file.read_bytes()
        assert f"{peers[7]} gave wrong bytes" in outcome.err
        healthy = sum(speed for speed, fault in zip(speeds, faults, strict=True) if not fault)
        ratios.append(took / (file.stat().st_size / (healthy * _UNIT)))
        end()
        shutil.rmtree(tmp_path / f"copy{attempt}")
    assert sorted(ratios)[1] <= 1.25, ratios


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_faults_at_random(world, serving, proxied, tmp_path):
    """40 syncs from three peers with faults drawn for each: done and right, or an exit that says why."""
    url, _ = serving(world.publisher)
    random_ = random.Random(20261128)
    faults = ["", "", "lies", "stalls", "dies", "resets", "busy", "truncates", "drips"]
    codes = []
    for attempt in range(40):
        chosen = random_.choices(faults, k=3)
        peers, end = proxied(url, *(f"5e7:{fault}" for fault in chosen))
        node = node_with(tmp_path / f"node{attempt}", url, peers)
        began = time.monotonic()
        outcome = execute(node, "--json", "sync", f"{MODEL}@1.1.0", "--to", tmp_path / f"copy{attempt}")
        assert time.monotonic() - began < 110, chosen
        codes.append(outcome.code)
        end()
        if outcome.code:
            checked_refusal(outcome, 3 if {"lies", "truncates"} & set(chosen) else 6)
            assert "" not in chosen
            node_with(tmp_path / f"other{attempt}", url, [url])
            shutil.copy(tmp_path / f"other{attempt}" / "config.toml", node / "config.toml")
            done(node, "sync", f"{MODEL}@1.1.0", "--to", tmp_path / f"copy{attempt}")
        assert tree(tmp_path / f"copy{attempt}") == tree(world.second)
    assert codes.count(0) > 25
