"""What receipts are judged by: the releases that they name, verified, and replays of their plans."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from modelreg.errors import UnreachableError, VerificationError
from modelreg.format.calibration import Calibration
from modelreg.format.names import AtRelease, ReleaseId
from modelreg.format.receipt import Domain
from modelreg.format.runtime_info import RuntimeInfo
from modelreg.format.trace_plan import TracePlan
from modelreg.home import Home
from modelreg.ledger.receipt_log_view import ReceiptLogView
from modelreg.ledger.view import View
from modelreg_verifier.audit.judge import Subject
from modelreg_verifier.release import read_release
from modelreg_verifier.serving.copies import Source, resolve, verified_copy
from modelreg_verifier.serving.target import Target
from modelreg_verifier.serving.whole_model import whole_model
from modelreg_verifier.terms.duty import Duty
from modelreg_verifier.terms.rules import Rules
from modelreg_verifier.trace.bench import Bench, bench_of, settings_like
from modelreg_verifier.trace.bounded import BoundedSessions
from modelreg_verifier.trace.runtime import Settings

__all__ = ["Trusted", "subjects"]

# A node chooses the releases and plans that its receipts name: few of them are kept at a time.
_RELEASES_KEPT, _BENCHES_KEPT = 16, 4


@dataclass(frozen=True, slots=True)
class Trusted:
    """What an auditor relies on.

    Args:
        root: the home.
        ledger: opens the ledger at its trusted head.
        domain: of the receipts.
        calibrations: those that it trusts, whatever the release.
        remark: told what happens, in words.
        rules: of the policy under which it audits.
    """

    root: Path
    ledger: Callable[[], AbstractContextManager[View]]
    domain: Domain
    calibrations: Sequence[Calibration] = field(repr=False)
    remark: Callable[[str], None] = lambda _: None
    rules: Rules | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """A release: where it is, its paths, the calibrations that count, and what its receipts owe."""

    source: Source
    files: frozenset[str]
    calibrations: Sequence[Calibration] = field(repr=False)
    duty: Duty | None = None


def subjects(trusted: Trusted) -> Callable[[ReleaseId, bytes], Subject]:
    """Makes what a receipt is judged by, given its release and digest; fetches what the home lacks.

    Nothing is fetched of a release that no trusted calibration has, as a node may name any.

    The function that is returned raises NotFoundError for a release that is not on the ledger or cannot be
    had, and VerificationError for one that is not what it should be.
    """

    calibrated = {block.release for block in trusted.calibrations}

    @lru_cache(_RELEASES_KEPT)
    def release_of(release: ReleaseId) -> _Known:
        return _known(trusted, release, calibrated=release.value in calibrated)

    @lru_cache(_BENCHES_KEPT)
    def bench(release: ReleaseId, plan: TracePlan, settings: Settings) -> Bench:
        return _bench(trusted, release_of(release).source, plan, settings)

    def subject(release: ReleaseId, digest: bytes) -> Subject:
        def prepare(plan: TracePlan, runtime: RuntimeInfo) -> Bench:
            return bench(release, plan, settings_like(runtime))

        if trusted.rules is None and release.value not in calibrated:
            # The judge ends before it looks at a file of a release that no trusted calibration has.
            return Subject(trusted.domain, digest, release, frozenset(), trusted.calibrations, prepare)
        known = release_of(release)
        calibrations = (*trusted.calibrations, *known.calibrations)
        return Subject(trusted.domain, digest, release, known.files, calibrations, prepare, known.duty)

    return subject


def _known(trusted: Trusted, release: ReleaseId, *, calibrated: bool) -> _Known:
    home, rules = Home(trusted.root), trusted.rules
    with trusted.ledger() as view:
        source = resolve(home, view, Target(AtRelease(release), None), allow_yanked=True)
        if not calibrated and (rules is None or source.release.model != rules.policy.model):
            return _Known(source, frozenset(), ())
        manifest = read_release(source.release, home.plaintext)
        files = frozenset(file.path for file in manifest.files)
        if rules is None:
            return _Known(source, files, ())
        log = ReceiptLogView.beside(view)
        return _Known(source, files, *rules.vouched(log, source.release, files, home.blocks, trusted.remark))


def _bench(trusted: Trusted, source: Source, plan: TracePlan, settings: Settings) -> Bench:
    try:
        copy = verified_copy(trusted.root, source, trusted.remark)
        model = whole_model(*copy.model(copy.onnx_file(plan.file)))
    except VerificationError as error:
        # What is wrong with the auditor's own copy, or with its reading of it, is not the node's doing.
        raise UnreachableError(f"cannot read {plan.file}", found=str(error)) from None
    return bench_of(model, plan, settings, BoundedSessions().session)
