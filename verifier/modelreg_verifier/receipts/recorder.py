"""Makes the receipt of each inference that `serve` answers. Specified in docs/spec/openings.md, section 4."""

import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from modelreg.errors import FormatError, InputError, UnreachableError
from modelreg.format.names import ReleaseId
from modelreg.format.receipt import SignedReceipt
from modelreg.format.receipt_text import answer_text, to_header
from modelreg.format.trace_plan import TracePlan
from modelreg.format.values import Hashing, Layout, hash_each, lay_out
from modelreg_verifier.receipts.committing import Committed, commit_to
from modelreg_verifier.receipts.journal import Draft, Journal, Ran
from modelreg_verifier.receipts.kept import write_kept
from modelreg_verifier.receipts.opening import BYTES_MAX
from modelreg_verifier.serving.protocol import Scalar
from modelreg_verifier.serving.recorder import Addition, Inference, Loaded

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
        self._ran = lru_cache(1024)(lambda loaded: _ran(loaded, plans(loaded.release, loaded.file)))

    @property
    def room(self) -> tuple[int, int]:
        """As `Recorder.room`."""
        return self._journal.room

    def record(self, inference: Inference) -> Addition:
        """Sign and keep; as `Recorder.record`."""
        request_id = _hex(inference.parameters, _REQUEST_ID, 32) or os.urandom(32)
        client = _hex(inference.parameters, _CLIENT, 20) or _NOBODY
        salts = _truth(inference.parameters, _SALTS)
        layout, tensors = lay_out((inference.inputs, inference.outputs, *inference.cuts))
        _require_readable(layout)
        try:
            committed = commit_to(layout, tensors, hashing=self._hashing)
            small = layout.sizes[1] <= _OUTPUTS_KEPT
            kept = write_kept(committed.salts, layout, tensors, outputs=small, everything=self._keep_all)
            draft = Draft(self._ran(inference.loaded), request_id, client, committed, kept)
            signed, digest = self._journal.append(draft)
        except (FormatError, InputError) as error:
            # Not the client's mistake, as these two would mean to whoever asked.
            raise UnreachableError("no receipt", found=str(error)) from error
        return _addition(signed, digest, committed if salts else None)


def _addition(signed: SignedReceipt, digest: bytes, committed: Committed | None) -> Addition:
    parameters: dict[str, Scalar] = {_RECEIPT: answer_text(signed, digest)}
    if committed is not None:
        parameters["modelreg_input_salt"] = f"0x{committed.salts[0].hex()}"
        parameters["modelreg_output_salt"] = f"0x{committed.salts[1].hex()}"
    return Addition(parameters, {HEADER: to_header(signed)})


def _ran(loaded: Loaded, plan: TracePlan) -> Ran:
    if loaded.cuts != plan.cuts:  # no auditor could follow what is signed
        raise FormatError("cuts of a model", expected="those of its plan", found=len(loaded.cuts))
    plan_id, fingerprint = plan.plan_id, loaded.runtime.fingerprint
    blocks = {plan_id: bytes(plan), fingerprint: bytes(loaded.runtime)}
    return Ran(loaded.release, plan_id, fingerprint, blocks)


def _require_readable(layout: Layout) -> None:
    """Refuse what could be signed, and then not be opened to a reader with the limits of openings.md."""
    total = sum(layout.sizes)
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
