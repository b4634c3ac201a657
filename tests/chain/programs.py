"""Small contracts, assembled here so that the tests need no compiler."""

_OPCODES = {
    "STOP": 0x00, "ADD": 0x01, "EQ": 0x14, "SHL": 0x1B, "BALANCE": 0x31, "CALLER": 0x33, "CALLVALUE": 0x34,
    "CALLDATALOAD": 0x35, "CALLDATASIZE": 0x36, "CALLDATACOPY": 0x37, "CODECOPY": 0x39, "GASPRICE": 0x3A,
    "BLOCKHASH": 0x40, "COINBASE": 0x41, "TIMESTAMP": 0x42, "NUMBER": 0x43, "PREVRANDAO": 0x44,
    "GASLIMIT": 0x45, "CHAINID": 0x46, "SELFBALANCE": 0x47, "BASEFEE": 0x48, "BLOBHASH": 0x49,
    "BLOBBASEFEE": 0x4A, "POP": 0x50, "MLOAD": 0x51, "MSTORE": 0x52, "SLOAD": 0x54, "SSTORE": 0x55,
    "JUMP": 0x56, "JUMPI": 0x57, "GAS": 0x5A, "JUMPDEST": 0x5B, "TLOAD": 0x5C, "TSTORE": 0x5D, "MCOPY": 0x5E,
    "DUP1": 0x80, "DUP2": 0x81, "SWAP1": 0x90, "LOG0": 0xA0, "LOG1": 0xA1, "LOG2": 0xA2, "CALL": 0xF1,
    "RETURN": 0xF3, "STATICCALL": 0xFA, "CREATE2": 0xF5, "REVERT": 0xFD, "INVALID": 0xFE,
    "SELFDESTRUCT": 0xFF, "ADDRESS": 0x30, "ORIGIN": 0x32, "EXTCODEHASH": 0x3F, "RETURNDATASIZE": 0x3D,
    "ISZERO": 0x15, "SUB": 0x03,
}  # fmt: skip


def assemble(source):
    """Mnemonics, numbers to push, `@label` to push an address, `label:` to place one (with its JUMPDEST)."""
    parts, labels, at = [], {}, 0
    for word in source.split():
        part = _part(word)
        if word.endswith(":"):
            labels[word[:-1]] = at
        parts.append(part)
        at += 3 if isinstance(part, str) else len(part)
    return b"".join(
        part if isinstance(part, bytes) else b"\x61" + labels[part].to_bytes(2, "big") for part in parts
    )


def _part(word):
    if word.startswith("@"):
        return word[1:]
    if word.endswith(":"):
        return b"\x5b"
    if word == "0x00":
        return b"\x5f"
    if word.startswith("0x"):
        number = bytes.fromhex(word[2:] if len(word) % 2 == 0 else "0" + word[2:])
        return bytes([0x5F + len(number)]) + number
    return bytes([_OPCODES[word]])


def creation(runtime):
    """Init code that deploys `runtime`."""
    size = len(runtime).to_bytes(2, "big").hex()
    return bytes.fromhex(f"61{size}80600a5f395ff3") + runtime


# 64 bytes (key, value): stores and logs; 32 bytes: loads; anything else reverts with Error("bad call").
VAULT = assemble(
    """
    CALLDATASIZE 0x40 EQ @store JUMPI
    CALLDATASIZE 0x20 EQ @load JUMPI
    0x08c379a0 0xe0 SHL 0x00 MSTORE 0x20 0x04 MSTORE 0x08 0x24 MSTORE
    0x6261642063616c6c 0xc0 SHL 0x44 MSTORE 0x64 0x00 REVERT
    store: 0x20 CALLDATALOAD DUP1 0x00 MSTORE 0x00 CALLDATALOAD SSTORE
    0x00 CALLDATALOAD 0xaa 0x20 0x00 LOG2 STOP
    load: 0x00 CALLDATALOAD SLOAD 0x00 MSTORE 0x20 0x00 RETURN
    """
)

FOREVER = assemble("again: @again JUMP")

# Returns what the block says of itself, a word each.
_CONTEXT = [
    "NUMBER",
    "TIMESTAMP",
    "PREVRANDAO",
    "GASLIMIT",
    "CHAINID",
    "BASEFEE",
    "COINBASE",
    "GASPRICE",
    "BLOBBASEFEE",
]
CONTEXT = assemble(
    " ".join(f"{name} {hex(32 * i)} MSTORE" for i, name in enumerate(_CONTEXT))
    + f" {hex(32 * len(_CONTEXT))} 0x00 RETURN"
)

# Calls itself until the gas is gone, then stores how deep it came.
DEEP = assemble("0x00 0x00 0x00 0x00 0x00 ADDRESS GAS CALL POP STOP")
