"""A bare py-evm chain for the contract's tests: Prague rules, in memory, one transaction a block."""

from dataclasses import dataclass
from functools import cache

from eth.chains.base import MiningChain
from eth.consensus.noproof import NoProofConsensus
from eth.db.atomic import AtomicDB
from eth.db.backends.memory import MemoryDB
from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_keys import keys

from tests.contracts import abi

# https://github.com/Arachnid/deterministic-deployment-proxy
DEPLOYER_CODE = bytes.fromhex(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe0"
    "3601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
)
CHAIN_ID = 31337
GENESIS_TIME = 1_700_000_000
BALANCE = 10**24
GAS_LIMIT = 5_000_000
GAS_PRICE = 100 * 10**9


class LocalVM(PragueVM):
    consensus_class = NoProofConsensus


class LocalChain(MiningChain):
    vm_configuration = ((0, LocalVM),)
    chain_id = CHAIN_ID


@dataclass(frozen=True)
class Account:
    key: keys.PrivateKey
    address: str

    @classmethod
    def named(cls, name: str) -> "Account":
        key = keys.PrivateKey(abi.keccak256(name.encode()))
        return cls(key, key.public_key.to_address())

    def __bytes__(self) -> bytes:
        return self.key.public_key.to_canonical_address()


ALICE, BOB, CAROL, DAVE = ACCOUNTS = [Account.named(name) for name in ("alice", "bob", "carol", "dave")]


@dataclass(frozen=True)
class Outcome:
    """What a transaction did, in raw bytes, so that two machines can be compared."""

    ok: bool
    output: bytes
    gas: int
    logs: tuple[tuple[bytes, tuple[bytes, ...], bytes], ...]

    @property
    def error(self):
        """(name, arguments...) of the custom error, or None."""
        return None if self.ok else abi.decode_error(self.output)

    @property
    def events(self):
        return [abi.decode_event(topics, data) for _, topics, data in self.logs]


class Evm:
    """ModelRegistry on a chain of its own; `copy` is cheap."""

    def __init__(self, chain: LocalChain, store: dict, nonces: dict[Account, int]) -> None:
        self._chain = chain
        self._store = store
        self._nonces = nonces

    @classmethod
    def fresh(cls) -> "Evm":
        return _deployed().copy()

    @classmethod
    def bare(cls) -> "Evm":
        """Funded accounts and the deployment proxy, no registry."""
        store: dict = {}
        funded = {bytes(account): _account(balance=BALANCE) for account in ACCOUNTS}
        state = {**funded, abi.DEPLOYER: _account(nonce=1, code=DEPLOYER_CODE)}
        genesis = {
            "difficulty": 0,
            "gas_limit": 30_000_000,
            "timestamp": GENESIS_TIME,
            "base_fee_per_gas": 10**9,
        }
        return cls(LocalChain.from_genesis(AtomicDB(MemoryDB(store)), genesis, state), store, {})

    def copy(self) -> "Evm":
        store = dict(self._store)
        return Evm(LocalChain(AtomicDB(MemoryDB(store)), self._chain.header), store, dict(self._nonces))

    def sign(self, sender: Account, to: bytes, data: bytes, value: int = 0):
        builder = LocalVM.get_transaction_builder()
        nonce = self._nonces.get(sender, 0)
        self._nonces[sender] = nonce + 1
        unsigned = builder.create_unsigned_transaction(
            nonce=nonce, gas_price=GAS_PRICE, gas=GAS_LIMIT, to=to, value=value, data=data
        )
        return unsigned.as_signed_transaction(sender.key, chain_id=CHAIN_ID)

    def mine(self, transaction, after: int) -> Outcome:
        """Mine one transaction, `after` seconds past the last block."""
        chain = self._chain
        chain.set_header_timestamp(self.time + after)
        _, receipt, computation = chain.apply_transaction(transaction)
        chain.mine_block()
        logs = tuple(
            (log.address, tuple(topic.to_bytes(32, "big") for topic in log.topics), log.data)
            for log in receipt.logs
        )
        return Outcome(computation.is_success, computation.output, receipt.gas_used, logs)

    def send_raw(self, sender: Account, to: bytes, data: bytes, after: int = 12, value: int = 0) -> Outcome:
        return self.mine(self.sign(sender, to, data, value), after)

    def send(self, sender: Account, function: str, *args, after: int = 12) -> Outcome:
        return self.send_raw(sender, abi.ADDRESS, abi.encode_call(function, *args), after)

    def call_raw(self, sender: bytes, to: bytes, data: bytes) -> tuple[bool, bytes]:
        """What a call returns in the newest block, as `eth_call` has it."""
        head = self._chain.get_canonical_head()
        vm = self._chain.get_vm(head)
        free = head.copy(base_fee_per_gas=0)
        state = vm.build_state(vm.chaindb.db, free, vm.chain_context, vm.previous_hashes)
        before = state.snapshot()
        transaction = LocalVM.get_transaction_builder().create_unsigned_transaction(
            nonce=state.get_nonce(sender), gas_price=0, gas=2 * GAS_LIMIT, to=to, value=0, data=data
        )
        computation = state.costless_execute_transaction(SpoofTransaction(transaction, from_=sender))
        state.revert(before)
        return computation.is_success, computation.output

    def call(self, function: str, *args, sender: Account = DAVE, contract: abi.Contract = abi.REGISTRY):
        """The value that a view returns; raises RevertedError."""
        ok, output = self.call_raw(bytes(sender), contract.address, contract.encode_call(function, *args))
        if not ok:
            raise abi.RevertedError(abi.decode_error(output))
        return contract.decode_result(function, output)

    def storage(self, slot: int, address: bytes = abi.ADDRESS) -> bytes:
        state = self._chain.get_vm(self._chain.get_canonical_head()).state
        return state.get_storage(address, slot).to_bytes(32, "big")

    def balance(self, address: bytes) -> int:
        """In wei."""
        return self._chain.get_vm(self._chain.get_canonical_head()).state.get_balance(address)

    def code(self, address: bytes) -> bytes:
        return self._chain.get_vm(self._chain.get_canonical_head()).state.get_code(address)

    @property
    def time(self) -> int:
        return self._chain.get_canonical_head().timestamp

    @property
    def block(self) -> int:
        return self._chain.get_canonical_head().block_number


@cache
def _deployed() -> Evm:
    evm = Evm.bare()
    deployment = evm.send_raw(ALICE, abi.DEPLOYER, bytes(32) + abi.INIT_CODE)
    assert deployment.ok, deployment
    return evm


def _account(balance: int = 0, nonce: int = 0, code: bytes = b"") -> dict:
    return {"balance": balance, "nonce": nonce, "code": code, "storage": {}}
