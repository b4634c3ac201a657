"""Publishing and syncing through a Kubo whose answers go wrong: done and right, or exit 6 and resumed."""

import json
import os
import random
import shutil
import subprocess
import threading
import time

import pytest

from modelreg.store.kubo import KuboNetwork
from modelreg.store.kubo_api import KuboApi
from tests.cli.command import done, modelreg, refused, tree
from tests.cli.conftest import MODEL
from tests.cli.models import fine_tuned, weights, write_huggingface
from tests.cli.test_kubo import node_on, pinned_at
from tests.kubo import BINARY, free_port
from tests.kubo_faults import FAULTS, faulty

pytestmark = [pytest.mark.kubo, pytest.mark.timeout(1800)]

_DEADLINE = 60


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """What takes minutes in life takes seconds here."""
    monkeypatch.setitem(KuboApi.__init__.__kwdefaults__, "seconds", 1.5)
    monkeypatch.setitem(KuboNetwork.__init__.__kwdefaults__, "seconds", 3.0)
    monkeypatch.setattr("modelreg.store.kubo_api._PAUSES", (0.02, 0.1, 0.3))
    monkeypatch.setattr("modelreg.store.kubo_push._PIN_SECONDS", 2.0)


def use(home, url):
    """Let a home reach Kubo by another URL."""
    config = home / "config.toml"
    lines = config.read_text().splitlines()
    config.write_text("\n".join(f'api = "{url}"' if line.startswith("api") else line for line in lines))


@pytest.mark.parametrize("fault", FAULTS)
def test_every_request_goes_wrong(models, kubo, tmp_path, fault):
    """Nothing is recorded, and nothing hangs."""
    home = tmp_path / "publisher"
    done(home, "init", "--store", "local,kubo", "--kubo-api", kubo.url)
    with faulty(kubo.url, 1, 1.0, (fault,)) as (_, url):
        use(home, url)
        began = time.monotonic()
        outcome = modelreg(home, "publish", models[0], "--model", MODEL, "--version", "1.0.0")
        assert time.monotonic() - began < _DEADLINE
    if outcome.code:
        assert outcome.code == 6, outcome.err
        assert done(home, "ls") == []
    else:  # a wrong byte in an answer that says little
        assert fault in ("wrong", "lost pin", "drip")
    use(home, kubo.url)
    published = done(home, "publish", models[0], "--model", MODEL, "--version", "1.0.0")
    assert published["manifest_cid"] in pinned_at(kubo)
    kubo.run("dag", "stat", "--offline", published["manifest_cid"])


def test_two_hundred_faults_at_random(kubo, tmp_path):
    """Each run publishes one release and syncs it on a fresh node, all through the proxy."""
    chance = random.Random(20261128)
    publisher = tmp_path / "publisher"
    done(publisher, "init", "--store", "kubo", "--kubo-api", kubo.url)
    happened, codes, tensors = 0, [], weights()
    for number in range(200):
        model = write_huggingface(tmp_path / f"v{number}", tensors)
        words = ("publish", model, "--model", MODEL, "--version", f"1.{number}.0")
        with faulty(kubo.url, number, chance.choice([0.03, 0.1, 0.3])) as (proxy, url):
            use(publisher, url)
            codes.append(timed(publisher, *words, wrong=proxy))
            use(publisher, kubo.url)
            published = done(publisher, *words) if codes[-1] else None
            assert published is None or not published["repeated"]
            node = node_on(publisher, kubo, tmp_path / "node")
            use(node, url)
            words = ("sync", f"{MODEL}@1.{number}.0", "--to", tmp_path / "copy")
            codes.append(timed(node, *words, wrong=proxy))
            if codes[-1]:
                use(node, kubo.url)
                done(node, *words)
            assert tree(tmp_path / "copy") == tree(model)
            happened += sum(proxy.happened.values())
        for path in (model, node, tmp_path / "copy"):
            shutil.rmtree(path)
        tensors = fine_tuned(tensors, seed=number)
        if happened >= 200:
            break
    assert happened >= 200
    assert codes.count(0) > len(codes) / 3


def timed(home, *words, wrong=None):
    """Run a command: it ends in time, done, or with the exit code of what was wrong."""
    began = time.monotonic()
    outcome = modelreg(home, *words)
    assert time.monotonic() - began < _DEADLINE
    if outcome.code == 3:  # bytes that were wrong twice are told from silence
        assert sum(wrong.happened[fault] for fault in ("wrong", "truncated", "nonsense"))
        assert "holds other bytes" in outcome.err
    else:
        assert outcome.code in (0, 6), outcome.err
    return outcome.code


def test_the_daemon_restarts_meanwhile(kubo, tmp_path):
    """It is killed in the middle of uploads and pins, and comes back."""
    home = tmp_path / "publisher"
    done(home, "init", "--store", "local,kubo", "--kubo-api", kubo.url)
    file = tmp_path / "weights.bin"
    codes = []
    for number in range(5):
        file.write_bytes(random.Random(number).randbytes(24 << 20))
        words = ("publish", file, "--model", f"acme/m{number}", "--version", "1.0.0", "--effort", "0")
        killer = threading.Timer(0.15 * number, lambda: (kubo.stop(kill=True), kubo.start()))
        killer.start()
        codes.append(timed(home, *words))
        killer.join()
        published = done(home, *words)
        assert published["repeated"] == (codes[-1] == 0)
        kubo.run("dag", "stat", "--offline", published["manifest_cid"])
        assert published["manifest_cid"] in pinned_at(kubo)
    assert set(codes) <= {0, 6}


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs mount namespaces")
def test_the_disk_of_the_daemon_is_full(tmp_path):
    """On a real disk of 16 MiB, which a release of 24 MiB does not fit on."""
    port, repository = free_port(), tmp_path / "repository"
    repository.mkdir()
    script = (
        'mount -t tmpfs -o size=16m none "$IPFS_PATH" && "$0" init --profile=test'
        ' && "$0" config Routing.Type none'
        f' && "$0" config Addresses.API /ip4/127.0.0.1/tcp/{port} && exec "$0" daemon'
    )
    command = ["unshare", "--mount", "sh", "-c", script, BINARY]
    environment = {**os.environ, "IPFS_PATH": str(repository), "IPFS_TELEMETRY": "off"}
    daemon = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        for line in daemon.stdout:
            if b"Daemon is ready" in line:
                break
        reader = threading.Thread(target=daemon.stdout.read, daemon=True)
        reader.start()
        home, url = tmp_path / "publisher", f"http://127.0.0.1:{port}"
        done(home, "init", "--store", "local,kubo", "--kubo-api", url)
        small, large = tmp_path / "small.bin", tmp_path / "large.bin"
        small.write_bytes(random.Random(1).randbytes(2 << 20))
        large.write_bytes(random.Random(2).randbytes(24 << 20))
        options = ("--version", "1.0.0", "--effort", "0", "--model")
        line = refused(home, "publish", large, *options, "acme/large", code=6)
        assert "no space left on device" in line
        assert done(home, "ls") == []
        outcome = modelreg(home, "publish", small, *options, "acme/small")
        assert outcome.code == 6 or json.loads(outcome.out)["release_id"]
    finally:
        daemon.terminate()
        daemon.wait(30)
