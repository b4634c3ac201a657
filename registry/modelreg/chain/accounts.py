"""The JSON-RPC methods that read the state. Specified in docs/spec/chain.md, section 8."""

from collections.abc import Sequence

from modelreg.chain.params import address, block_ref, invalid, slot, take
from modelreg.chain.render import Json, hexadecimal
from modelreg.chain.state import Account, Proof, account_at, code_of, storage_at
from modelreg.chain.view import View

__all__ = ["balance", "code", "nonce", "proof", "storage"]

_MAX_KEYS = 1024


def _account(view: View, who: object, reference: object) -> Account:
    return account_at(view.header_at(block_ref(reference)).state_root, address(who), view.node)[0]


def balance(view: View, params: Sequence[object]) -> Json:
    """eth_getBalance: wei."""
    return hex(_account(view, *take(params, 1, 2)).balance)


def nonce(view: View, params: Sequence[object]) -> Json:
    """eth_getTransactionCount."""
    return hex(_account(view, *take(params, 1, 2)).nonce)


def code(view: View, params: Sequence[object]) -> Json:
    """eth_getCode."""
    return hexadecimal(code_of(_account(view, *take(params, 1, 2)), view.node))


def storage(view: View, params: Sequence[object]) -> Json:
    """eth_getStorageAt: the word in a slot."""
    who, key, reference = take(params, 2, 3)
    word, _ = storage_at(_account(view, who, reference), slot(key), view.node)
    return hexadecimal(word.to_bytes(32, "big"))


def _nodes(proof: Proof) -> Json:
    return [hexadecimal(node) for node in proof]


def proof(view: View, params: Sequence[object]) -> Json:
    """eth_getProof (EIP-1186): an account and some of its slots, with the trie nodes that prove them."""
    who, keys, reference = take(params, 2, 3)
    if not isinstance(keys, list) or len(keys) > _MAX_KEYS:
        raise invalid(f"too many keys (max: {_MAX_KEYS})")
    account, nodes = account_at(view.header_at(block_ref(reference)).state_root, address(who), view.node)
    return {
        "address": hexadecimal(address(who)),
        "accountProof": _nodes(nodes),
        "balance": hex(account.balance),
        "codeHash": hexadecimal(account.code_hash),
        "nonce": hex(account.nonce),
        "storageHash": hexadecimal(account.storage_root),
        "storageProof": [_storage_proof(view, account, key) for key in keys],
    }


def _storage_proof(view: View, account: Account, key: object) -> Json:
    """A key of 32 bytes is printed as one, a shorter one as a quantity, as go-ethereum does."""
    place = slot(key)
    value, nodes = storage_at(account, place, view.node)
    whole = isinstance(key, str) and len(key) == 66
    name = hexadecimal(place.to_bytes(32, "big")) if whole else hex(place)
    return {"key": name, "value": hex(value), "proof": _nodes(nodes)}
