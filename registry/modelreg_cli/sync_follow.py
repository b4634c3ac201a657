"""`sync --follow`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from modelreg.errors import ModelregError, NotFoundError, UnreachableError
from modelreg.format.names import Reference
from modelreg_cli.output import printable
from modelreg_cli.session import Session
from modelreg_cli.sync_run import destination, sync_release, warn_of_yank

if TYPE_CHECKING:
    from modelreg.format.names import ModelName, ReleaseId
    from modelreg.format.release import Release
    from modelreg.home import Home
    from modelreg.ledger.records import Move
    from modelreg.ledger.view import View
    from modelreg_verifier.pace import Pace

__all__ = ["Follower"]


class _OvertakenError(Exception):
    """Something else is to be done than what is being done ahead of time."""


class Follower:
    """What was copied last, and what was fetched ahead of a planned move."""

    def __init__(
        self, session: Session, reference: Reference, to: Path | None, only: tuple[str, ...]
    ) -> None:
        self._session, self._reference = session, reference
        self._to, self._only = to, only
        self._last: ReleaseId | None = None
        self._planned: Move | None = None
        self._glance_at = 0.0
        self._ahead: ReleaseId | None = None
        self._warned: ReleaseId | None = None
        self._said: set[str] = set()
        self._outage = ""

    def run(self, every: float) -> NoReturn:
        """Look every so many seconds, more often as a planned move comes near."""
        from modelreg_verifier.pace import Pace

        pace, begun = Pace(every), False
        while True:
            if pace.is_due(self._session.height):
                try:
                    while not self._look(pace):
                        begun = True
                    begun, self._outage = True, ""
                except UnreachableError as error:
                    if not begun and self._last is None:
                        raise
                    pace.failed()
                    if str(error) != self._outage:
                        self._outage = str(error)
                        self._session.output.remark(f"warning: {printable(str(error))}; trying again")
            time.sleep(pace.seconds)

    def _look(self, pace: "Pace") -> bool:
        """Do what the ledger asks for; False if it came to ask for something else meanwhile."""
        with self._session.ledger() as view:
            self._planned = planned = view.planned(self._reference)
            try:
                release = view.resolve(self._reference)
            except NotFoundError as error:
                if planned is None:
                    raise
                self._remark(str(error))
            else:
                self._copy(view, release)
            pace.looked(view, planned.block if planned else None)
            self._glance_at = time.monotonic() + pace.seconds
            if planned is None:
                self._ahead = None
            if planned is None or planned.release == self._ahead:
                return True
            ahead = view.existing(planned.release)
            try:
                place = destination(self._session, view, ahead, self._to)
            except ModelregError as error:
                self._remark(_cannot_be_fetched(ahead, error))
                return True
        return self._fetch_ahead(ahead, *place, pace)

    def _copy(self, view: "View", release: "Release") -> None:
        if release.release_id != self._last:
            sync_release(
                self._session,
                view,
                release,
                self._reference,
                self._to,
                self._only,
                prefetched=release.release_id == self._ahead,
            )
            # The next one is staged where this one was.
            self._last, self._ahead = release.release_id, None
        if release.yanked and release.release_id != self._warned:
            warn_of_yank(self._session, view, release)
            self._warned = release.release_id

    def _fetch_ahead(
        self, release: "Release", home: "Home", name: "ModelName", target: Path, pace: "Pace"
    ) -> bool:
        """What fails before the block may be mended by then, and what is copied now stays good."""
        from modelreg_verifier.install import prefetch_release

        try:
            prefetch_release(
                home,
                release,
                target,
                self._only,
                progress=lambda _: self._require_no_other(pace),
                remark=self._session.output.remark,
            )
        except _OvertakenError:
            return False
        except ModelregError as error:
            self._remark(_cannot_be_fetched(release, error))
        else:
            self._ahead = release.release_id
            self._remark(f"fetched {name}@{release.version} ahead of its block")
        return True

    def _require_no_other(self, pace: "Pace") -> None:
        """A release takes hours to fetch, and what is asked for meanwhile does not wait for it."""
        if time.monotonic() < self._glance_at:
            return
        try:
            if pace.is_due(self._session.height) and self._is_overtaken(pace):
                raise _OvertakenError
        except UnreachableError:
            pace.failed()
        except ModelregError:
            raise _OvertakenError from None  # the next look meets it, too
        self._glance_at = time.monotonic() + pace.seconds

    def _is_overtaken(self, pace: "Pace") -> bool:
        with self._session.ledger() as view:
            planned = view.planned(self._reference)
            try:
                current = view.resolve(self._reference).release_id
            except NotFoundError:
                current = None
            pace.looked(view, planned.block if planned else None)
        return (current, planned) != (self._last, self._planned)

    def _remark(self, text: str) -> None:
        """Say something once, not at every look."""
        if text not in self._said:
            self._said.add(text)
            self._session.output.remark(printable(text))


def _cannot_be_fetched(release: "Release", error: ModelregError) -> str:
    return f"{release.version} cannot be fetched ahead of its block: {error}"
