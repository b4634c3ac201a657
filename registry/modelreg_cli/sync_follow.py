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
    from modelreg.format.names import ReleaseId
    from modelreg.format.release import Release
    from modelreg.ledger.view import View
    from modelreg_verifier.pace import Pace

__all__ = ["Follower"]


class Follower:
    """What was copied last, and what was fetched ahead of a planned move."""

    def __init__(
        self, session: Session, reference: Reference, to: Path | None, only: tuple[str, ...]
    ) -> None:
        self._session, self._reference = session, reference
        self._to, self._only = to, only
        self._last: ReleaseId | None = None
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
                    self._look(pace)
                    begun, self._outage = True, ""
                except UnreachableError as error:
                    if not begun and self._last is None:
                        raise
                    pace.failed()
                    if str(error) != self._outage:
                        self._outage = str(error)
                        self._session.output.remark(f"warning: {printable(str(error))}; trying again")
            time.sleep(pace.seconds)

    def _look(self, pace: "Pace") -> None:
        with self._session.ledger() as view:
            planned = view.planned(self._reference)
            try:
                release = view.resolve(self._reference)
            except NotFoundError as error:
                if planned is None:
                    raise
                self._remark(str(error))
            else:
                self._copy(view, release)
            pace.looked(view, planned.block if planned else None)
            if planned is None:
                self._ahead = None
            elif planned.release != self._ahead:
                self._fetch_ahead(view, view.existing(planned.release))

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

    def _fetch_ahead(self, view: "View", release: "Release") -> None:
        """What fails before the block may be mended by then, and what is copied now stays good."""
        from modelreg_verifier.install import prefetch_release

        try:
            home, name, target = destination(self._session, view, release, self._to)
            prefetch_release(home, release, target, self._only, remark=self._session.output.remark)
        except ModelregError as error:
            self._remark(f"{release.version} cannot be fetched ahead of its block: {error}")
        else:
            self._ahead = release.release_id
            self._remark(f"fetched {name}@{release.version} ahead of its block")

    def _remark(self, text: str) -> None:
        """Say something once, not at every look."""
        if text not in self._said:
            self._said.add(text)
            self._session.output.remark(printable(text))
