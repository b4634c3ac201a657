"""Makes the receipt of each inference that `serve` answers. Specified in docs/spec/openings.md, section 4."""

import re
import secrets
from collections.abc import Callable, Mapping
from functools import lru_cache

from modelreg.errors import FormatError, InputError, UnreachableError
from modelreg.format.commitments import Hashing, hash_each
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import SignedReceipt
from modelreg.format.receipt_text import answer_text, to_header
from modelreg.format.runtime_info import RuntimeInfo
from modelreg.format.trace_plan import TracePlan
from modelreg_verifier.receipts.committing import Committed, commit_to
from modelreg_verifier.receipts.journal import Draft, Journal
from modelreg_verifier.receipts.kept import Kept, write_kept
from modelreg_verifier.receipts.opening import BYTES_MAX
from modelreg_verifier.serving.protocol import Scalar
from modelreg_verifier.serving.recorder import Addition, Inference

__all__ = ["HEADER", "Plans", "ReceiptRecorder", "bare_plan"]

HEADER = "modelreg-receipt"
_RECEIPT = "modelreg_receipt"
_REQUEST_ID, _CLIENT, _SALTS = "modelreg_request_id", "modelreg_client", "modelreg_salts"
_NOBODY = bytes(20)
_OUTPUTS_KEPT = 4096  # computing larger ones again is cheaper than keeping those of every inference

Plans = Callable[[ReleaseId, str], TracePlan]
"""The plan by which a file, given by its path, of a release runs."""


def bare_plan(_release: ReleaseId, file: str) -> TracePlan:
    """The plan of a file that is served without a trace."""
    return TracePlan(file)


class ReceiptRecorder:
    """The recorder of `serve`: commits to the tensors, and has the journal sign and keep.

    Args:
        journal: signs.
        plans: the plan by which a file of a release runs; its cuts are those that `Inference` has.
        keep_all: keep the tensors of cuts, and of large outputs, too; without it they are computed again for
            an opening.
        hashing: hashes the tensors of an inference.
    """

    def __init__(
        self, journal: Journal, plans: Plans, *, keep_all: bool = False, hashing: Hashing = hash_each
    ) -> None:
        self._journal, self._keep_all, self._hashing = journal, keep_all, hashing
        self._plan = lru_cache(1024)(lambda *key: _named(plans(*key)))
        self._runtime = lru_cache(1024)(_named_runtime)

    @property
    def room(self) -> tuple[int, int]:
        """As `Recorder.room`."""
        return self._journal.room

    def record(self, inference: Inference) -> Addition:
        """Sign and keep; as `Recorder.record`."""
        request_id = _hex(inference.parameters, _REQUEST_ID, 32) or secrets.token_bytes(32)
        client = _hex(inference.parameters, _CLIENT, 20) or _NOBODY
        salts = _truth(inference.parameters, _SALTS)
        _require_readable(inference)
        try:
            committed, draft = self._draft(inference, request_id, client)
            signed = self._journal.append(draft)
        except (FormatError, InputError) as error:
            # Not the client's mistake, as these two would mean to whoever asked.
            raise UnreachableError("no receipt", found=str(error)) from error
        return self._addition(signed, committed if salts else None)

    def _draft(self, inference: Inference, request_id: bytes, client: bytes) -> tuple[Committed, Draft]:
        plan, plan_id, plan_block = self._plan(inference.release, inference.file)
        _check_cuts(plan, inference)
        fingerprint, runtime_block = self._runtime(inference.runtime)
        found = commit_to(inference.inputs, inference.outputs, inference.cuts, hashing=self._hashing)
        salts = (found.input_salt, found.output_salt, *found.cut_salts)
        small = sum(memoryview(each.data).nbytes for each in inference.outputs.values()) <= _OUTPUTS_KEPT
        outputs = inference.outputs if self._keep_all or small else None
        cuts = inference.cuts if self._keep_all else None
        return found, Draft(
            release_id=inference.release,
            plan_id=plan_id,
            request_id=request_id,
            client=client,
            input_commit=found.input_commit,
            output_commit=found.output_commit,
            trace_root=found.trace_root,
            runtime_fingerprint=fingerprint,
            response=found.response,
            blocks={plan_id: plan_block, fingerprint: runtime_block},
            kept=write_kept(Kept(salts, inference.inputs, outputs, cuts)),
        )

    def _addition(self, signed: SignedReceipt, committed: Committed | None) -> Addition:
        text = answer_text(signed, self._journal.domain)
        parameters: dict[str, Scalar] = {_RECEIPT: text}
        if committed is not None:
            parameters["modelreg_input_salt"] = f"0x{committed.input_salt.hex()}"
            parameters["modelreg_output_salt"] = f"0x{committed.output_salt.hex()}"
        return Addition(parameters, {HEADER: to_header(signed)})


def _named(plan: TracePlan) -> tuple[TracePlan, bytes, bytes]:
    return plan, plan.plan_id, bytes(plan)


def _named_runtime(runtime: RuntimeInfo) -> tuple[bytes, bytes]:
    return runtime.fingerprint, bytes(runtime)


def _check_cuts(plan: TracePlan, inference: Inference) -> None:
    """Refuse to sign what no auditor could follow."""
    if tuple(tuple(sorted(cut)) for cut in inference.cuts) != plan.cuts:
        raise FormatError("cuts of an inference", expected="those of its plan", found=len(inference.cuts))


def _require_readable(inference: Inference) -> None:
    """Refuse what could be signed, and then not be opened to a reader with the limits of openings.md."""
    sets = (inference.inputs, inference.outputs, *inference.cuts)
    total = sum(memoryview(tensor.data).nbytes for tensors in sets for tensor in tensors.values())
    if total > BYTES_MAX:
        raise InputError(
            "the opening of this inference would be too large",
            expected=f"at most {BYTES_MAX} bytes",
            found=total,
        )


def _hex(parameters: Mapping[str, Scalar], name: str, size: int) -> bytes | None:
    text = parameters.get(name)
    if text is None:
        return None
    if not isinstance(text, str) or not re.fullmatch(rf"0x[0-9a-fA-F]{{{2 * size}}}", text):
        expected = f"0x and {2 * size} hexadecimal digits"
        raise InputError(f"parameter {name}", expected=expected, found=ascii(text)[:90])
    return bytes.fromhex(text[2:])


def _truth(parameters: Mapping[str, Scalar], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise InputError(f"parameter {name}", expected="true or false", found=ascii(value)[:90])
    return value
