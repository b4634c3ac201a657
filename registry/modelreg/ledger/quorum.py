"""Several endpoints as one: what more than half of them say. Specified in docs/spec/ledger.md, section 9.

What proves itself is taken from any of them; blocks are those that more than half have; estimates are the
median; a transaction goes to all. One endpoint that lies, hangs or is stuck changes nothing but the time.
"""

import json
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from modelreg.errors import FormatError, ModelregError, UnreachableError, VerificationError
from modelreg.ledger.header import Header, parse_header
from modelreg.ledger.hexdata import quantity
from modelreg.ledger.rpc import Rpc, RpcRefusedError

__all__ = ["QuorumRpc"]

_MEDIAN = frozenset(
    {
        "eth_blockNumber",
        "eth_estimateGas",
        "eth_gasPrice",
        "eth_getTransactionCount",
        "eth_maxPriorityFeePerGas",
    }
)
_LOG_FIELDS = ("address", "topics", "data", "blockNumber", "logIndex", "transactionHash")
_RECEIPT_FIELDS = ("transactionHash", "blockNumber", "status", "gasUsed", "effectiveGasPrice")
_WAITING = 2
_STALE_SECONDS = 120
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one endpoint said: a value, or an error."""

    endpoint: int
    value: Any = None
    error: ModelregError | None = None


_Job = tuple[str, list[Any], "queue.SimpleQueue[_Answer]"]


class _Worker:
    """Asks one endpoint, one request after the other, in a thread that ends when it is closed."""

    def __init__(self, rpc: Rpc, number: int) -> None:
        self._rpc, self._number = rpc, number
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def ask(self, method: str, params: Sequence[Any], answers: "queue.SimpleQueue[_Answer]") -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        if self._jobs.qsize() >= _WAITING:  # it has not answered for a while
            error = UnreachableError(f"{self._rpc.name} is slow")
            answers.put(_Answer(self._number, error=error))
        else:
            self._jobs.put((method, list(params), answers))

    def close(self) -> None:
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            method, params, answers = job
            try:
                answers.put(_Answer(self._number, self._rpc.request(method, params)))
            except ModelregError as error:
                answers.put(_Answer(self._number, error=error))
            except Exception as error:  # noqa: BLE001  a defect of one endpoint's client must not hang the rest
                text = f"{type(error).__name__}: {error}"
                answers.put(_Answer(self._number, error=UnreachableError(self._rpc.name, found=text)))


class QuorumRpc:
    """Answers as `Rpc` does, out of several endpoints.

    Args:
        endpoints: two or more, each of which may answer as it likes.
        deadline: seconds for one request in all.

    Attributes:
        suspects: for each endpoint that stood against the others, what it did.
    """

    def __init__(self, endpoints: Sequence[Rpc], *, deadline: float = 120.0) -> None:
        self.name = ", ".join(endpoint.name for endpoint in endpoints)
        self.suspects: dict[str, str] = {}
        self._endpoints = tuple(endpoints)
        self._workers = [_Worker(endpoint, number) for number, endpoint in enumerate(endpoints)]
        self._needed = len(endpoints) // 2 + 1
        self._deadline = deadline
        self._agreeing: list[int] = list(range(len(endpoints)))
        self._lagging: set[int] = set()
        self._last_proof: list[Any] | None = None
        self._given: set[int] = set()

    def close(self) -> None:
        """Let the threads end, each after what it is doing."""
        for worker in self._workers:
            worker.close()

    def request(self, method: str, params: Sequence[Any]) -> Any:
        """See `Rpc.request`.

        Raises:
            VerificationError: no answer has more than half of the endpoints behind it.
            UnreachableError: too few answered.
        """
        match method:
            case "eth_getProof":
                return self._proof(list(params))
            case "eth_getBlockByNumber" if not str(params[0]).startswith("0x"):
                return self._block([hex(self._height(params)), *params[1:]])
            case "eth_getBlockByNumber":
                return self._block(params)
            case "eth_sendRawTransaction":
                return self._send(params)
            case "eth_getTransactionReceipt":
                return self._receipt(params)
        if method in _MEDIAN:
            return self._median(method, params)
        return self._agreed(method, params)

    def _height(self, params: Sequence[Any]) -> int:
        """The highest block that more than half of the endpoints have, by a tag of theirs."""
        # All are waited for, a little: the slowest may have the newest head.
        answers = self._ask(
            "eth_getBlockByNumber",
            params,
            lambda _: False,
            patience=self._needed,
            useful=lambda answer: _header(answer) is not None,
        )
        heads = [(answer.endpoint, header) for answer in answers if (header := _header(answer)) is not None]
        if len(heads) < self._needed:
            raise self._too_few(answers)
        heads.sort(key=lambda pair: pair[1].number, reverse=True)
        chosen = heads[self._needed - 1][1]
        for endpoint, header in heads[self._needed :]:
            if header.time < chosen.time - _STALE_SECONDS:
                age = chosen.time - header.time
                self._suspect(endpoint, f"is stuck at block {header.number}, {age} s behind")
        return chosen.number

    def _block(self, params: Sequence[Any]) -> Any:
        """A block by number, of which more than half have the same header, or none."""

        def groups(answers: Sequence[_Answer]) -> dict[bytes | None, list[_Answer]]:
            found: dict[bytes | None, list[_Answer]] = {}
            for answer in answers:
                header = _header(answer)
                if header is not None or _is_nothing(answer):
                    found.setdefault(header.hash if header else None, []).append(answer)
            return found

        def largest(answers: Sequence[_Answer]) -> list[_Answer]:
            return max(groups(answers).values(), key=len, default=[])

        answers = self._ask("eth_getBlockByNumber", params, lambda all_: len(largest(all_)) >= self._needed)
        agreeing = largest(answers)
        if len(agreeing) < self._needed:
            # Who has no such block yet is behind, and contradicts nobody.
            kinds = len([kind for kind in groups(answers) if kind is not None])
            raise self._disagreement(f"block {int(params[0], 16)}", answers, kinds)
        for answer in answers:
            if answer not in agreeing and answer.error is None and answer.value is not None:
                self._suspect(answer.endpoint, f"has another block {int(params[0], 16)} than the others")
        numbers = [answer.endpoint for answer in agreeing]
        self._agreeing = sorted(numbers, key=lambda number: number in self._lagging)
        return agreeing[0].value

    def _proof(self, params: list[Any]) -> Any:
        """From one that has the block, and from the next ones too while nobody answers.

        What is asked for again did not hold: then only those are asked who have not given it yet.
        """
        if params != self._last_proof or not set(self._agreeing) - self._given:
            self._last_proof, self._given = params, set()
        asked = [number for number in self._agreeing if number not in self._given]
        arriving: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        errors: list[ModelregError] = []
        rest, end = deque(asked), time.monotonic() + self._deadline
        while rest or len(errors) < len(asked):
            if rest:
                self._workers[rest.popleft()].ask("eth_getProof", params, arriving)
            left = max(end - time.monotonic(), 0)
            try:
                answer = arriving.get(timeout=min(left, _PATIENCE_SECONDS) if rest else left)
            except queue.Empty:
                if not rest:
                    break
            else:
                if answer.error is None:
                    self._given.add(answer.endpoint)
                    self._prefer(answer.endpoint, asked)
                    return answer.value
                errors.append(answer.error)
        raise errors[0] if errors else UnreachableError(f"no answer from {self.name} in time")

    def _prefer(self, endpoint: int, asked: Sequence[int]) -> None:
        """Ask first for proofs who gave one; those asked before it failed, or let us wait."""
        self._lagging |= set(asked[: asked.index(endpoint)])
        self._lagging.discard(endpoint)
        self._agreeing.sort(key=lambda number: (number in self._lagging, number != endpoint))

    def _send(self, params: Sequence[Any]) -> Any:
        """To all: who alone gets it could hold it back."""
        answers = self._ask("eth_sendRawTransaction", params, lambda _: False, patience=1)
        taken = [answer.value for answer in answers if answer.error is None]
        if taken:
            return taken[0]
        # Who did not answer may have it: that it was refused is for most to say.
        refusals = [answer.error for answer in answers if isinstance(answer.error, RpcRefusedError)]
        raise refusals[0] if len(refusals) >= self._needed else self._too_few(answers)

    def _receipt(self, params: Sequence[Any]) -> Any:
        """Mined is what more than half have mined, in one block."""
        try:
            return self._agreed("eth_getTransactionReceipt", params)
        except VerificationError:
            return None

    def _median(self, method: str, params: Sequence[Any]) -> Any:
        """An answer that a single endpoint can neither raise nor lower at will."""
        answers = self._ask(
            method,
            params,
            lambda _: False,
            patience=self._needed,
            useful=lambda answer: _is_quantity(answer.value),
        )
        values = sorted(quantity(answer.value, method) for answer in answers if _is_quantity(answer.value))
        if len(values) >= self._needed:
            return hex(values[len(values) // 2])
        refusals = [answer.error for answer in answers if isinstance(answer.error, RpcRefusedError)]
        raise refusals[0] if len(refusals) >= self._needed else self._too_few(answers)

    def _agreed(self, method: str, params: Sequence[Any]) -> Any:
        """What more than half answer, a refusal too."""

        def best(answers: Sequence[_Answer]) -> tuple[str, int]:
            said = Counter(key for answer in answers if (key := _key(method, answer)) is not None)
            return said.most_common(1)[0] if said else ("", 0)

        answers = self._ask(method, params, lambda found: best(found)[1] >= self._needed)
        key, count = best(answers)
        if count < self._needed:
            kinds = {_key(method, answer) for answer in answers} - {None}
            raise self._disagreement(method, answers, len(kinds))
        winner = next(answer for answer in answers if _key(method, answer) == key)
        if winner.error is not None:
            raise winner.error
        return winner.value

    def _ask(
        self,
        method: str,
        params: Sequence[Any],
        enough: Callable[[Sequence[_Answer]], bool],
        *,
        patience: int | None = None,
        useful: Callable[[_Answer], bool] = lambda answer: answer.error is None,
    ) -> list[_Answer]:
        """Ask endpoints until there is enough, all have answered, or the time is over.

        With `patience`, once so many gave something useful, the others get as long again, and five seconds at
        least: an honest one that is slow must not be left out for a liar that is fast.
        """
        arriving: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
        answers: list[_Answer] = []
        began = time.monotonic()
        end = began + self._deadline
        for worker in self._workers:
            worker.ask(method, params, arriving)
        while len(answers) < len(self._workers):
            try:
                answers.append(arriving.get(timeout=max(end - time.monotonic(), 0)))
            except queue.Empty:
                break
            if enough(answers):
                break
            if patience and sum(map(useful, answers)) == patience:
                end = min(end, time.monotonic() + max(_PATIENCE_SECONDS, time.monotonic() - began))
        return answers or [_Answer(0, error=UnreachableError(f"no answer from {self.name} in time"))]

    def _suspect(self, endpoint: int, what: str) -> None:
        self.suspects[f"{self._endpoints[endpoint].name} ({endpoint + 1})"] = what

    def _disagreement(self, what: str, answers: Sequence[_Answer], kinds: int) -> ModelregError:
        if kinds < 2:
            return self._too_few(answers)
        return VerificationError(
            f"the endpoints disagree on {what}",
            expected=f"{self._needed} of {len(self._endpoints)} to say the same",
            found=f"{kinds} answers",
            hint="some of them lie or the chain reorganised: try again, or read finalized blocks",
        )

    def _too_few(self, answers: Sequence[_Answer]) -> UnreachableError:
        errors = [str(answer.error) for answer in answers if answer.error is not None]
        answered = len(answers) - len(errors)
        return UnreachableError(
            "too few endpoints agree",
            expected=f"{self._needed} of {len(self._endpoints)}",
            found="; ".join([f"{answered} answered", *errors])[:400],
        )


def _header(answer: _Answer) -> Header | None:
    """The header that was given, if it is one."""
    if answer.error is not None or answer.value is None:
        return None
    try:
        return parse_header(answer.value)
    except ModelregError:
        return None


def _is_nothing(answer: _Answer) -> bool:
    return answer.error is None and answer.value is None


def _is_quantity(value: object) -> bool:
    try:
        quantity(value, "answer")
    except FormatError:
        return False
    return True


def _key(method: str, answer: _Answer) -> str | None:
    """What makes two answers the same; None for no answer."""
    if isinstance(answer.error, RpcRefusedError):
        return f"refused {json.dumps(answer.error.data, sort_keys=True, default=str)}"
    if answer.error is not None:
        return None
    value = answer.value
    if method == "eth_getLogs" and isinstance(value, list):
        value = [_chosen(entry, _LOG_FIELDS) for entry in value]
    elif method == "eth_getTransactionReceipt":
        value = _chosen(value, _RECEIPT_FIELDS)
    return json.dumps(value, sort_keys=True).lower()


def _chosen(value: Any, fields: Sequence[str]) -> Any:
    """Clients add fields of their own to what all agree on."""
    return {field: value.get(field) for field in fields} if isinstance(value, dict) else value
