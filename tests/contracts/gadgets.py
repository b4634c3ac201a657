"""Small contracts in bytes, to attack from."""

from tests.contracts.abi import DEPLOYER, keccak256
from tests.contracts.evm import ALICE, Evm

STOP = bytes.fromhex("00")
REFUSE = bytes.fromhex("5f5ffd")


def calling_back(function: str) -> bytes:
    """Call the sender's function without arguments again, whatever becomes of it, and keep the ether."""
    selector = keccak256(f"{function}()".encode())[:4]
    return b"\x63" + selector + bytes.fromhex("60e01b5f52 5f5f60045f5f335af1 00")


def wallet(on_ether: bytes) -> bytes:
    """Sent data, it calls the address in data[:20] with the rest and the ether, and passes on the result.

    Sent ether alone, it runs `on_ether`.
    """
    forward = len(on_ether) + 4
    call = bytes.fromhex("5b 6014360380 60145f37 5f5f825f345f3560601c5af1 3d5f5f3e 3d5f82")
    done = forward + len(call) + 4
    start = bytes([0x36, 0x60, forward, 0x57])
    return start + on_ether + call + bytes([0x60, done, 0x57, 0xFD, 0x5B, 0xF3])


def deploy(machine: Evm, code: bytes) -> bytes:
    """The address of a contract with this code."""
    starter = bytes([0x60, len(code), 0x80, 0x60, 9, 0x3D, 0x39, 0x3D, 0xF3])
    outcome = machine.send_raw(ALICE, DEPLOYER, bytes(32) + starter + code)
    assert outcome.ok
    assert machine.code(outcome.output) == code
    return outcome.output


def run(machine: Evm, target: bytes, *data: bytes):
    """Call the target several times in one transaction; every call must succeed."""
    code, tail = b"", b"".join(data)
    size = 43 * len(data) + 1
    for number, each in enumerate(data):
        start = size + sum(map(len, data[:number]))
        code += b"\x61" + len(each).to_bytes(2, "big") + b"\x61" + start.to_bytes(2, "big") + b"\x5f\x39"
        code += b"\x5f\x5f\x61" + len(each).to_bytes(2, "big") + b"\x5f\x5f\x73" + target + b"\x5a\xf1"
        after = len(code) + 4
        code += b"\x60" + bytes([after]) + b"\x57\xfe\x5b"
    outcome = machine.send_raw(ALICE, DEPLOYER, bytes(32) + code + STOP + tail)
    assert outcome.ok, outcome
    return outcome


def force(machine: Evm, target: bytes, amount: int) -> None:
    """Send ether that the target cannot refuse (SELFDESTRUCT, EIP-6780)."""
    outcome = machine.send_raw(ALICE, DEPLOYER, bytes(32) + b"\x73" + target + b"\xff", value=amount)
    assert outcome.ok
