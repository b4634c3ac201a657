"""Loading what the operator asked for, and keeping up with channels and yanks.

Specified in docs/spec/serve.md, section 1.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from modelreg.errors import InputError, ModelregError, NotPermittedError
from modelreg.format.names import AtRelease, ReleaseId
from modelreg.home import Home
from modelreg.ledger.records import Move
from modelreg.ledger.view import View
from modelreg_verifier.ahead import Ahead
from modelreg_verifier.pace import Pace
from modelreg_verifier.serving.copies import Source, VerifiedCopy, resolve, verified_copy
from modelreg_verifier.serving.engine import Engine
from modelreg_verifier.serving.models import Served, ServedModels
from modelreg_verifier.serving.target import Target
from modelreg_verifier.serving.whole_model import whole_model
from modelreg_verifier.terms.duty import Breach, Duty
from modelreg_verifier.trace.plans import PlanTable

if TYPE_CHECKING:
    from modelreg.format.trace_plan import TracePlan

__all__ = ["Loader", "Loading", "Vouched"]

Event = Callable[[dict[str, Any]], None]
_Key = tuple[str, str]
_Subject = tuple[str, ...]
_LEDGER = ("", "")
# A release that a channel will name is loaded so long before.
_AHEAD_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Vouched:
    """What the ledger says of a release: plans that its publisher attached, and what this node owes."""

    plans: "tuple[TracePlan, ...]" = ()
    duties: tuple[Duty, ...] = ()


@dataclass(frozen=True, slots=True)
class Loading:
    """How to load.

    Attributes:
        home: the home's directory.
        ledger: opens the ledger at its head, checked against the newest head that the home has seen.
        threads: those within one operator.
        allow_yanked: serve releases that were withdrawn.
        remark: told what happens, in words.
        plans: by which files are traced; others run whole.
        vouch: looks up what the ledger says of a release with these paths.
        every: seconds between looks at the ledger.
    """

    home: Path
    ledger: Callable[[], AbstractContextManager[View]]
    threads: int
    allow_yanked: bool = False
    remark: Callable[[str], None] = lambda _: None
    plans: PlanTable = field(default_factory=PlanTable)
    vouch: Callable[[Source, frozenset[str]], Vouched] = lambda *_: Vouched()
    every: float = 15.0


class Loader:
    """Fills a table of served models from targets.

    Attributes:
        models: the table.
        pace: when to look at the ledger again.

    Raises, on construction: what the ledger, a copy or the runtime has against a target.
    """

    def __init__(self, targets: Sequence[Target], loading: Loading) -> None:
        self._loading = loading
        self._wrong: dict[_Subject, str] = {}
        self._ahead: dict[_Key, Ahead[Served]] = {}
        self._one_at_a_time: defaultdict[ReleaseId, Lock] = defaultdict(Lock)
        self.pace = Pace(loading.every)
        home = Home(loading.home)
        with loading.ledger() as view:
            found = [resolve(home, view, target, allow_yanked=loading.allow_yanked) for target in targets]
            if not any(view.planned(target.reference) for target in targets):
                self.pace.looked(view, None)
        self._targets = {
            (target.served_name(source.model), target.selector): target
            for target, source in zip(targets, found, strict=True)
        }
        if len(self._targets) != len(targets):
            raise InputError("a model is named twice", found=", ".join(map(str, targets)))
        self.models = ServedModels(self._targets)
        for target, source in zip(targets, found, strict=True):
            self.models.put(self._load(target, source))

    def refresh(self, event: Event) -> None:
        """Look at the ledger again: take in what channels name now, and out what was yanked.

        What a channel is going to name is loaded beforehand, so that it is taken in at once.

        Args:
            event: told of each change, and once of what went wrong; nothing is raised for either.
        """
        try:
            home = Home(self._loading.home)
            with self._loading.ledger() as view:
                late = {
                    key
                    for key, target in self._targets.items()
                    if not self._refresh(home, view, key, target, event) and key in self._ahead
                }
                planned = {key: view.planned(target.reference) for key, target in self._targets.items()}
                self.pace.looked(view, min((move.block for move in planned.values() if move), default=None))
                for key in planned.keys() - late:
                    self._prepare(home, view, key, planned[key], event)
            if late:
                self.pace.late()
            self._wrong.pop(_LEDGER, None)
        except ModelregError as error:
            self.pace.failed()
            self._tell(event, _LEDGER, {"event": "ledger"}, error)

    def _refresh(self, home: Home, view: View, key: _Key, target: Target, event: Event) -> bool:
        """Do what the ledger says of a target; whether it serves what it means now."""
        served = self._served(key)
        facts = {"model": key[0], "selector": key[1]}
        try:
            if served is not None and not self._loading.allow_yanked and view.existing(served.release).yanked:
                self.models.remove(*key)
                event({"event": "out", **facts, "version": served.version, "release": str(served.release)})
            source = resolve(home, view, target, allow_yanked=self._loading.allow_yanked)
            if served is None or served.release != source.release.release_id:
                if self._is_on_its_way(key, source):
                    return False
                new = self._prepared(key, source) or self._load(target, source)
                self.models.put(new)
                event({"event": "in", **facts, "version": new.version, "release": str(new.release)})
            elif self._breach(source, served) is not None:
                self.models.remove(*key)
                event({"event": "out", **facts, "version": served.version, "release": str(served.release)})
            self._wrong.pop(key, None)
        except ModelregError as error:
            kept = self._served(key)
            state = {"event": "kept", "version": kept.version} if kept else {"event": "absent"}
            self._tell(event, key, state | facts, error)
            return False
        return True

    def _prepare(self, home: Home, view: View, key: _Key, move: Move | None, event: Event) -> None:
        """Have what a channel is going to name loaded by then, while everything else goes on."""
        ahead, served = self._ahead.get(key), self._served(key)
        if ahead is not None and (ahead.has_failed or move is None or ahead.release != move.release):
            del self._ahead[key]
        if move is None:
            self._wrong.pop((*key, "planned"), None)
            return
        is_served = served is not None and served.release == move.release
        is_near = self.pace.seconds_to(move.block) <= _AHEAD_SECONDS
        if is_near and not is_served and key not in self._ahead:
            self._begin(home, view, key, move, event)

    def _begin(self, home: Home, view: View, key: _Key, move: Move, event: Event) -> None:
        facts = {"model": key[0], "selector": key[1], "block": move.block}
        target = self._targets[key]

        def tell(error: Exception) -> None:
            self._tell(event, (*key, "planned"), {"event": "unready", **facts}, error)

        def load(source: Source) -> Served:
            try:
                new = self._load(target, source)
            except Exception as error:
                tell(error)
                raise
            event({"event": "ready", **facts, "version": new.version, "release": str(new.release)})
            return new

        try:
            ahead = replace(target, reference=AtRelease(move.release))
            source = resolve(home, view, ahead, allow_yanked=self._loading.allow_yanked)
        except ModelregError as error:
            tell(error)
        else:
            self._ahead[key] = Ahead(move.release, lambda: load(source))

    def _is_on_its_way(self, key: _Key, source: Source) -> bool:
        ahead = self._ahead.get(key)
        return ahead is not None and ahead.release == source.release.release_id and not ahead.is_done

    def _prepared(self, key: _Key, source: Source) -> Served | None:
        """What was loaded for a release that a target means now; None if there is nothing.

        Raises:
            NotPermittedError: the node has agreed since to terms that it would break.
        """
        ahead = self._ahead.get(key)
        if ahead is None or ahead.release != source.release.release_id:
            return None
        del self._ahead[key]
        if ahead.has_failed:
            return None  # it is tried once more
        found = ahead.result()
        _require_kept(self._breach(source, found), source)
        return found

    def _tell(self, event: Event, key: _Subject, facts: dict[str, Any], error: Exception) -> None:
        """Tell of an error when it is new, not every time that the ledger is read."""
        if self._wrong.get(key) != str(error):
            self._wrong[key] = str(error)
            event({**facts, "error": str(error)})

    def _served(self, key: _Key) -> Served | None:
        return next((known for known in self.models if (known.name, known.selector) == key), None)

    def _breach(self, source: Source, served: Served) -> Breach | None:
        """Of the terms that the node has agreed to by now, one that this does not keep."""
        plan = self._loading.plans.plan_of(served.release, served.file)
        duties = self._loading.vouch(source, frozenset()).duties
        breaches = (duty.breach(plan, served.engine.runtime) for duty in duties)
        return next((breach for breach in breaches if breach is not None), None)

    def _load(self, target: Target, source: Source) -> Served:
        # Of several targets that come to mean a release, the first fetches it.
        with self._one_at_a_time[source.release.release_id]:
            return self._loaded(target, source)

    def _loaded(self, target: Target, source: Source) -> Served:
        copy = verified_copy(self._loading.home, source, self._loading.remark)
        file = copy.onnx_file(target.file)
        release, vouched = source.release, self._loading.vouch(source, copy.paths)
        engine = self._engine(release.release_id, file, copy, vouched)
        plan = self._loading.plans.plan_of(release.release_id, file)
        for duty in vouched.duties:
            _require_kept(duty.breach(plan, engine.runtime), source)
        return Served(
            name=target.served_name(source.model),
            selector=target.selector,
            version=str(release.version),
            release=release.release_id,
            content_root=release.content_root,
            file=file,
            engine=engine,
        )

    def _engine(self, release: ReleaseId, file: str, copy: VerifiedCopy, vouched: Vouched) -> Engine:
        threads, plans = self._loading.threads, self._loading.plans
        raw, external = copy.model(file)
        candidates = plans.candidates(file, vouched.plans)
        if not candidates:
            return Engine(raw, external, threads=threads)
        traced = plans.trace(release, file, whole_model(raw, external), candidates)
        return Engine(traced.raw, threads=threads, cuts=traced.cuts, outputs=traced.outputs)


def _require_kept(breach: Breach | None, source: Source) -> None:
    """docs/spec/terms.md, section 3."""
    if breach is not None:
        raise NotPermittedError(
            f"serving {source.model}@{source.release.version} would break the terms of a policy",
            found=breach.detail,
            hint="have a party calibrate this plan and runtime, or leave it: modelreg node resign",
        )
