"""The vectors of docs/spec/receipt.md: receipts to accept, and one to refuse for each way to be wrong.

`python -m tests.reference.receipt_vectors` writes tests/vectors/receipt/ again.
"""

import base64
import json
from pathlib import Path

from tests.reference import receipt as reference
from tests.reference.batch_vectors import batches
from tests.reference.commitment_vectors import commitments, traces
from tests.reference.secp256k1 import N, address_of, keccak256, sign

VECTORS = Path(__file__).parents[1] / "vectors" / "receipt"
EXACT = 2**53
KEY, OTHER_KEY = keccak256(b"a node"), keccak256(b"another node")
DOMAIN = {
    "name": "modelreg",
    "version": "1",
    "chainId": 31415,
    "verifyingContract": keccak256(b"ReceiptLog")[12:],
}
OTHER_CHAIN = {**DOMAIN, "chainId": 1}
OTHER_CONTRACT = {**DOMAIN, "verifyingContract": keccak256(b"another log")[12:]}


def receipt(key=KEY, **changes):
    made = {
        name: keccak256(name.encode())[32 - reference.SIZES[kind] :]
        for kind, name in reference.FIELDS
        if not kind.startswith("uint")
    }
    numbers = {"schema": 1, "epoch": 3, "seq": 41, "issuedAt": 1_790_000_000}
    return {**made, **numbers, "node": address_of(key), **changes}


def signed(made, domain=DOMAIN, key=KEY):
    return sign(key, reference.digest_of(made, domain))


BASE = receipt()
SIGNATURE = signed(BASE)
OBJECT = reference.object_of(BASE, SIGNATURE, DOMAIN)


def accepted():
    largest = {"epoch": EXACT - 1, "seq": EXACT - 1, "issuedAt": EXACT - 1}
    rows = {
        "a receipt": (BASE, DOMAIN),
        "first of an epoch, for anybody": (receipt(seq=0, prevReceipt=bytes(32), client=bytes(20)), DOMAIN),
        "largest numbers": (receipt(**largest), {**DOMAIN, "chainId": EXACT - 1}),
        "smallest numbers": (receipt(epoch=0, seq=0, issuedAt=0), {**DOMAIN, "chainId": 0}),
        "all bits": (
            receipt(**{name: b"\xff" * 32 for kind, name in reference.FIELDS if kind == "bytes32"}),
            DOMAIN,
        ),
        "a signature with v 28": (receipt(seq=_seq_with_v(28)), DOMAIN),
        "a signature with v 27": (receipt(seq=_seq_with_v(27)), DOMAIN),
    }
    return [_accepted(name, made, domain) for name, (made, domain) in rows.items()]


def _seq_with_v(v):
    return next(seq for seq in range(99) if signed(receipt(seq=seq))[64] == v)


def _accepted(name, made, domain):
    signature = signed(made, domain)
    raw = reference.pack(made) + signature
    return {
        "name": name,
        "key": KEY.hex(),
        "bytes": raw.hex(),
        "header": base64.b64encode(raw).decode(),
        "object": reference.object_of(made, signature, domain),
    }


def refused():
    """Rows of name, the check of section 7 that fails, how it is written, and what is read: text or hex."""
    forms = [_lengths, _fields, _signatures, _replays, _edits, _members, _texts, _numbers, _json, _headers]
    rows = [row for form in forms for row in form()]
    return [{"name": name, "check": check, "form": form, **_data(data)} for name, check, form, data in rows]


def seeds(form):
    """What is read in one of the forms, accepted and refused, as bytes."""
    rows = json.loads((VECTORS / "refused.json").read_text())
    texts = [
        row["text"].encode() if "text" in row else bytes.fromhex(row["hex"])
        for row in rows
        if row["form"] == form
    ]
    good = {"bytes": _bytes(BASE, SIGNATURE), "object": _written(OBJECT)}
    return [*[good[form]] * len(texts), *texts]


def _data(data):
    try:
        return {"text": data.decode("ascii")}
    except UnicodeDecodeError:
        return {"hex": data.hex()}


def _bytes(made, signature):
    return reference.pack(made) + signature


def _lengths():
    raw = _bytes(BASE, SIGNATURE)
    yield "nothing", 1, "bytes", b""
    yield "a byte short", 1, "bytes", raw[:-1]
    yield "a byte more", 1, "bytes", raw + b"\0"
    yield "a packed receipt alone", 1, "bytes", raw[:322]
    yield "a signature of 64 bytes (EIP-2098)", 1, "bytes", raw[:-1]
    yield "two receipts", 1, "bytes", raw + raw


def _fields():
    changes = [("schema", 0), ("schema", 2), ("schema", 65535), ("releaseId", bytes(32))]
    changes += [(name, value) for name in ("epoch", "seq", "issuedAt") for value in (EXACT, 2**64 - 1)]
    for name, value in changes:
        made = receipt(**{name: value})
        text = value if isinstance(value, int) else "zero"
        yield f"{name} {text}", 2, "bytes", _bytes(made, signed(made))
        written = json.dumps(reference.object_of(made, signed(made), DOMAIN)).encode()
        yield f"{name} {text} in an object", 2, "object", written


def _signatures():
    r, s, v = SIGNATURE[:32], SIGNATURE[32:64], SIGNATURE[64]
    high = (N - int.from_bytes(s, "big")).to_bytes(32, "big")
    order, zero = N.to_bytes(32, "big"), bytes(32)
    half = (N // 2 + 1).to_bytes(32, "big")
    forms = {
        "high s": (r, high, 55 - v),
        "s just above half the order": (r, half, v),
        "s zero": (r, zero, v),
        "s is the order": (r, order, v),
        "r zero": (zero, s, v),
        "r is the order": (order, s, v),
        "r is no x of the curve": ((5).to_bytes(32, "big"), s, v),
        "all zero": (zero, zero, 27),
        "the other v": (r, s, 55 - v),
        **{f"v {number}": (r, s, number) for number in (0, 1, 26, 29, 30, 31, 255)},
    }
    for name, (r_form, s_form, v_form) in forms.items():
        yield name, 3, "bytes", _bytes(BASE, r_form + s_form + bytes([v_form]))


def _replays():
    yield "signed for another chain", 3, "bytes", _bytes(BASE, signed(BASE, OTHER_CHAIN))
    yield "signed for another contract", 3, "bytes", _bytes(BASE, signed(BASE, OTHER_CONTRACT))
    for member, text in (("name", "Modelreg"), ("version", "2")):
        yield f"signed for another {member}", 3, "bytes", _bytes(BASE, signed(BASE, {**DOMAIN, member: text}))
    yield "signed by another key", 3, "bytes", _bytes(BASE, signed(BASE, key=OTHER_KEY))
    yield "signature of the next receipt", 3, "bytes", _bytes(BASE, signed(receipt(seq=42)))
    other_type = sign(KEY, reference.digest_of(BASE, DOMAIN, "Verdict"))
    yield "signed as another type", 3, "bytes", _bytes(BASE, other_type)
    digest = reference.digest_of(BASE, DOMAIN)
    message = sign(KEY, keccak256(b"\x19Ethereum Signed Message:\n32" + digest))
    yield "digest signed as a message (EIP-191)", 3, "bytes", _bytes(BASE, message)
    yield "packed bytes signed", 3, "bytes", _bytes(BASE, sign(KEY, keccak256(reference.pack(BASE))))
    yield (
        "object for another chain",
        4,
        "object",
        _written(reference.object_of(BASE, signed(BASE, OTHER_CHAIN), OTHER_CHAIN)),
    )
    other = reference.object_of(BASE, signed(BASE, OTHER_CONTRACT), OTHER_CONTRACT)
    yield "object for another contract", 4, "object", _written(other)
    del other["domain"]
    yield "answer for another contract", 4, "answer", _written(other)
    yield (
        "object signed for another chain",
        3,
        "object",
        _written({**OBJECT, "signature": "0x" + signed(BASE, OTHER_CHAIN).hex()}),
    )


def _edits():
    for _, name in reference.FIELDS[1:]:
        value = BASE[name]
        edited = value + 1 if isinstance(value, int) else value[:-1] + bytes([value[-1] ^ 1])
        made = {**BASE, name: edited}
        yield f"{name} edited", 3, "bytes", _bytes(made, SIGNATURE)
        whole = reference.object_of(made, SIGNATURE, DOMAIN)
        yield f"{name} edited in an object", 3, "object", _written(whole)
        yield f"{name} edited, digest kept", 4, "object", _written({**whole, "digest": OBJECT["digest"]})
    for other, name in ((OTHER_CHAIN, "chainId"), (OTHER_CONTRACT, "verifyingContract")):
        yield (
            f"{name} edited, digest kept",
            4,
            "object",
            _written({**OBJECT, "domain": reference.plain(other)}),
        )
    digest = OBJECT["digest"]
    yield "digest edited", 4, "object", _written({**OBJECT, "digest": digest[:2] + digest[:1:-1]})


def _written(value):
    return json.dumps(value).encode()


def _at(path, value):
    """OBJECT with one member set; None drops it."""
    made = json.loads(json.dumps(OBJECT))
    *parents, last = path
    place = made
    for step in parents:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return _written(made)


def _paths():
    return [(key,) for key in OBJECT] + [(key, name) for key in ("domain", "receipt") for name in OBJECT[key]]


def _members():
    for path in _paths():
        yield f"no {'.'.join(path)}", 1, "object", _at(path, None)
    for path in (("more",), ("domain", "salt"), ("receipt", "modelId")):
        yield f"{'.'.join(path)} besides", 1, "object", _at(path, "0x00")
    yield "a domain in an answer", 1, "answer", _written(OBJECT)
    yield "no domain in an object", 1, "object", _at(("domain",), None)
    yield "name of another domain", 1, "object", _at(("domain", "name"), "Modelreg")
    yield "version of another domain", 1, "object", _at(("domain", "version"), "2")
    yield "version as a number", 1, "object", _at(("domain", "version"), 1)
    for path in (("domain",), ("receipt",)):
        yield f"{path[0]} as a list", 1, "object", _at(path, [])
        yield f"{path[0]} as a text", 1, "object", _at(path, "0x")


def _texts():
    node = OBJECT["receipt"]["node"]
    forms = {
        "with a checksum (EIP-55)": node[:-1].upper().replace("0X", "0x") + node[-1],
        "in upper case": node.upper(),
        "without 0x": node[2:],
        "with 0x twice": "0x" + node,
        "a digit short": node[:-1],
        "of 32 bytes": "0x" + "00" * 12 + node[2:],
        "with a line end": node + "\n",
        "with a space in front": " " + node,
        "with spaces for digits": node[:2] + "  " + node[4:],
        "with underscores": node[:3] + "_" + node[4:],
        "with full-width digits": node[:-1] + "\uff11",
        "with an unpaired surrogate": node[:-1] + "\ud800",
        "as a number": int(node, 16),
        "as bytes of a list": list(BASE["node"]),
        "true": True,
    }
    for name, form in forms.items():
        yield f"node {name}", 1, "object", _at(("receipt", "node"), form)
    yield "digest in upper case", 1, "object", _at(("digest",), "0x" + OBJECT["digest"][2:].upper())
    yield "signature in upper case", 1, "object", _at(("signature",), "0x" + OBJECT["signature"][2:].upper())
    yield "signature of 64 bytes", 1, "object", _at(("signature",), OBJECT["signature"][:-2])
    yield (
        "contract in upper case",
        1,
        "object",
        _at(("domain", "verifyingContract"), "0x" + OBJECT["domain"]["verifyingContract"][2:].upper()),
    )


def _numbers():
    written = _written(OBJECT)
    forms = ["41.0", "4.1e1", "41e0", "-41", "-0", "041", "+41", '"41"', "true", "null", "[41]", "0x29"]
    forms += [
        "NaN",
        "Infinity",
        "1_0",
        "10000000000000000",
        "00000000000000041",
        "9" * 2000,
    ]
    for form in forms:
        raw = written.replace(b'"seq": 41', b'"seq": ' + form.encode())
        yield f"seq {form[:30]}", 2 if len(form) > 16 and form[0] != "0" else 1, "object", raw
    yield "schema true", 1, "object", _at(("receipt", "schema"), True)
    yield "chainId 9007199254740992", 1, "object", _at(("domain", "chainId"), EXACT)
    yield "chainId as hexadecimal text", 1, "object", _at(("domain", "chainId"), "0x7ab7")


def _json():
    written = _written(OBJECT)
    yield "an empty text", 1, "object", b""
    yield "not JSON", 1, "object", b"receipt"
    yield "a list", 1, "object", b"[" + written + b"]"
    yield "a text of JSON", 1, "object", json.dumps(written.decode()).encode()
    yield "bytes after the end", 1, "object", written + b"}"
    yield "a mark of byte order", 1, "object", b"\xef\xbb\xbf" + written
    yield "UTF-16", 1, "object", written.decode().encode("utf-16")
    yield "not UTF-8", 1, "object", written.replace(b"modelreg", b"\xff")
    yield "more than 4,096 bytes", 1, "object", written + b" " * (4097 - len(written))
    yield "deep nesting", 1, "object", b"[" * 4096
    yield "deep nesting of objects", 1, "object", b'{"":' * 1024
    yield "a key twice", 1, "object", written.replace(b'"seq": 41', b'"seq": 41, "seq": 41')
    yield (
        "a key twice above",
        1,
        "object",
        written[:-1] + b', "digest": "' + OBJECT["digest"].encode() + b'"}',
    )
    yield "a comment", 1, "object", written + b"//"
    yield "single quotes", 1, "object", written.replace(b'"', b"'")
    yield "a comma at the end", 1, "object", written[:-1] + b",}"


def _headers():
    raw = _bytes(BASE, SIGNATURE)
    text = base64.b64encode(raw)
    assert b"+" in text and b"/" in text
    yield "header with the alphabet of URLs", 1, "header", base64.urlsafe_b64encode(raw)
    yield "header in hexadecimal", 1, "header", raw.hex().encode()
    yield "header a byte short", 1, "header", base64.b64encode(raw[:-1])
    yield "header with padding for a character", 1, "header", text[:-1] + b"="
    yield "header with padding behind", 1, "header", text + b"="
    yield "header with more padding behind", 1, "header", text + b"===="
    yield "header with a line end", 1, "header", text + b"\n"
    yield "header with a space inside", 1, "header", text[:99] + b" " + text[100:]
    yield "header with text beyond ASCII", 1, "header", text[:-1] + "é".encode()
    yield "header of three bytes more", 1, "header", base64.b64encode(raw + bytes(3))
    yield "header with another v", 3, "header", base64.b64encode(raw[:-1] + b"\x00")


def documents():
    """File name -> its rows."""
    return {
        "accepted.json": accepted(),
        "refused.json": refused(),
        "commitments.json": commitments(),
        "traces.json": traces(),
        "batches.json": batches(),
    }


def render(rows):
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"


if __name__ == "__main__":
    VECTORS.mkdir(parents=True, exist_ok=True)
    for file_name, rows in documents().items():
        (VECTORS / file_name).write_text(render(rows))
