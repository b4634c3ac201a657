"""Ids and content proofs as docs/spec/contract.md gives them, one step at a time.

`python -m tests.reference.contract` writes the vectors in tests/vectors/contract anew.
"""

import json
from pathlib import Path

from Crypto.Hash import keccak

from tests.reference.merkle import reference_proof, reference_root

NONE = bytes(32)
VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "contract"


def _hash(data):
    return keccak.new(digest_bits=256, data=data).digest()


def word(text):
    """A Label: ASCII, zeros to the right."""
    return text.encode("ascii") + bytes(32 - len(text))


def text_of(label):
    """A Label's text; what is not a Label becomes a text that no rule admits."""
    text = label.rstrip(b"\0")
    return b"\0" if b"\0" in text else text


def model_id(namespace, name):
    return _hash(text_of(namespace) + b"/" + name.encode())


def release_id(model, version, branch, parent, content_root, manifest_digest, manifest_hash, seq):
    words = [_hash(b"modelreg/release/1"), model, version, branch, parent, content_root, manifest_digest]
    words += [manifest_hash.to_bytes(32, "big"), seq.to_bytes(32, "big")]
    return _hash(b"".join(words))


def leaf_hash(path, offset, length, digest):
    place = offset.to_bytes(8, "big") + length.to_bytes(8, "big")
    return _hash(b"\x00" + _hash(path.encode("utf-8")) + place + digest)


def _release_vectors():
    """A line of releases in three models: a root, a child, a branch off it, a fork in another model."""
    rows = [
        ("acme", "minilm", "1.0.0", "main", None, 0x1E),
        ("acme", "minilm", "1.1.0-rc.1+build.5", "main", 0, 0x1E),
        ("acme", "minilm", "2.0.0-alpha", "next", 0, 0x12),
        ("a", "0", "0.0.0", "0", None, 0x12),
        ("n" * 32, "M" + "._-" * 31 + "9z", "9.9.9+" + "b" * 26, "b" * 32, 1, 0x1E),
    ]
    made = []
    for number, (namespace, name, version, branch, base, code) in enumerate(rows):
        parent = made[base] if base is not None else None
        root, manifest = _hash(b"root %d" % number), _hash(b"manifest %d" % number)
        seq = parent["seq"] + 1 if parent else 1
        parent_id = bytes.fromhex(parent["release_id"]) if parent else NONE
        model = model_id(word(namespace), name)
        release = release_id(model, word(version), word(branch), parent_id, root, manifest, code, seq)
        made.append(
            {
                "namespace": namespace,
                "name": name,
                "version": version,
                "branch": branch,
                "parent": parent_id.hex(),
                "content_root": root.hex(),
                "manifest_digest": manifest.hex(),
                "manifest_hash": code,
                "seq": seq,
                "model_id": model.hex(),
                "release_id": release.hex(),
            }
        )
    return made


def _proof_vectors():
    made = []
    for count in (1, 2, 3, 4, 5, 6, 7, 8, 11, 13, 64, 65):
        code = 0x12 if count % 2 else 0x1E
        chunks = [(f"fil\u00e9 {i % 3}", i * 2**33, 2**19 - i, _hash(b"chunk %d" % i)) for i in range(count)]
        leaves = [leaf_hash(*chunk) for chunk in chunks]
        for index in sorted({0, 1, count // 2, count - 2, count - 1} & set(range(count))):
            path, offset, length, digest = chunks[index]
            made.append(
                {
                    "path": path,
                    "offset": offset,
                    "length": length,
                    "hash_code": code,
                    "digest": digest.hex(),
                    "index": index,
                    "count": count,
                    "proof": [node.hex() for node in reference_proof(leaves, index)],
                    "leaf": leaves[index].hex(),
                    "content_root": reference_root(leaves, code).hex(),
                }
            )
    return made


def documents():
    """File name -> its text."""
    made = {"releases.json": _release_vectors(), "proofs.json": _proof_vectors()}
    return {name: json.dumps(rows, indent=1) + "\n" for name, rows in made.items()}


if __name__ == "__main__":
    VECTORS.mkdir(parents=True, exist_ok=True)
    for file_name, text in documents().items():
        (VECTORS / file_name).write_text(text, encoding="utf-8")
