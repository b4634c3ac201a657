"""The second half of `demo`: of two nodes one answers with another model, and two auditors find out which."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from modelreg_cli.demo_questions import answers_of, likeness
from modelreg_cli.demo_stage import Stage, free_port

__all__ = ["tell_of_nodes"]

_MODEL = "acme/minilm-onnx"
_REF = f"{_MODEL}@1.0.0"
_NODES = {"honest": "modelreg_cli", "cheat": "modelreg_cli.demo_cheat"}
_AUDITORS = ("auditor", "colleague")
_QUESTIONS, _DRAWS = 200, 3
_CHEATED = 7


def tell_of_nodes(stage: Stage, onnx: Path) -> None:
    """Publish a directory with an ONNX file, have it served and audited, and a bond slashed.

    Raises:
        VerificationError: the honest node is accused, or the other one is not.
    """
    stage.say("The model is to answer questions now. The publisher releases it as ONNX ...")
    stage.run("publisher", "publish", onnx, "--model", _MODEL, "--version", "1.0.0")
    stage.say("... and says where its graph is cut for audits, and how far honest machines lie apart there.")
    grid = ("--batch", "1", "--samples", "1", "--dim", "16")
    stage.run("publisher", "calibrate", _REF, "--out", stage.root / "plans", *grid, "--attach")
    stage.say(
        "Two nodes and two auditors join. By its policy a node loses 1 ether for each answer that is false."
    )
    address = {home: _joined(stage, home) for home in (*_AUDITORS, *_NODES)}
    auditors = [word for home in _AUDITORS for word in ("--auditor", address[home])]
    party = next(key["address"] for key in stage.ask("publisher", "key", "list") if key["signs"])
    terms = ("--quorum", "2", "--penalty", "1", "--party", party)
    stage.run("publisher", "policy", "create", "--model", _MODEL, *auditors, *terms)
    [policy] = [row["policy"] for row in stage.ask("publisher", "policy", "list", _MODEL)]
    ports = {home: free_port() for home in _NODES}
    for home in _NODES:
        _enrol(stage, home, address[home], ports[home], policy)
    with ExitStack() as serving:
        stage.say("Both serve. The second one verifies the release too, but then runs int8 weights.")
        for home, module in _NODES.items():
            options = ("--port", str(ports[home]), *auditors)
            serving.enter_context(stage.serving(home, _REF, *options, module=module))
        _question(stage, ports)
        stage.say("Every answer came with a receipt. The nodes anchor them, and blocks follow.")
        for home in _NODES:
            stage.run(home, "anchor")
        stage.run("publisher", "channel", "set", _MODEL, "stable", _REF)
        _audit(stage, address, policy)
    stage.say("Two auditors agree: with their verdicts anybody can make the cheat pay.")
    stage.run("publisher", "verdict", "slash", stage.root / "verdicts" / "*.verdict")
    for home in _NODES:
        stage.run(home, "node", "status")


def _joined(stage: Stage, home: str) -> str:
    """A home that joined the publisher's; its key's address."""
    stage.ask(home, "init", "--join", str(stage.root / "publisher"))
    found: str = next(key["address"] for key in stage.ask(home, "key", "list") if key["signs"])
    return found


def _enrol(stage: Stage, home: str, address: str, port: int, policy: str) -> None:
    stage.ask("publisher", "key", "send", address, "3")
    stage.run(home, "node", "register", "--endpoint", f"http://127.0.0.1:{port}", "--bond", "2")
    stage.run(home, "node", "enrol", policy)


def _question(stage: Stage, ports: dict[str, int]) -> None:
    stage.say(f"A client asks both the same {_QUESTIONS} questions. The answers hardly differ.")
    found: dict[str, Any] = {}
    for home, port in ports.items():
        client, found[home] = answers_of(port, _MODEL, _QUESTIONS)
        stage.show(f"{client} has {len(found[home])} answers of the node {home}")
    stage.show(f"their embeddings are {likeness(*found.values()):.1%} alike")


def _audit(stage: Stage, address: dict[str, str], policy: str) -> None:
    judge = ("--policy", policy, "--draws", str(_DRAWS))
    stage.say("An auditor draws receipts by the hash of a later block, and computes them again: all is well.")
    stage.run(_AUDITORS[0], "audit", address["honest"], *judge)
    stage.say("The other node's own numbers show that it ran something else.")
    verdicts = ("--verdicts", stage.root / "verdicts")
    for home in _AUDITORS:
        stage.run(home, "audit", address["cheat"], *judge, *verdicts, ends=_CHEATED)
