"""Answering the challenges of this home's key: for `challenge answer`, and for `serve`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from modelreg.errors import ModelregError
from modelreg_cli.receipt_log import challenge_writer, cost, own_records, receipt_log, utc
from modelreg_cli.session import Session

if TYPE_CHECKING:
    from modelreg.ledger.endpoint import Receipt
    from modelreg.ledger.receipt_log_challenges import Challenges
    from modelreg.ledger.receipt_log_open import OpenChallenge
    from modelreg_verifier.receipts.challenges import Respondent

__all__ = ["ChallengeWatch", "answer_all"]

_GRACE_SECONDS = 5.0


def answer_all(
    session: Session, password_file: Path | None, *, dry_run: bool = False
) -> Iterator[tuple[dict[str, Any], ModelregError | None]]:
    """Answer what waits, the most urgent first; one that cannot be answered keeps none of the others waiting.

    Gives a document for each challenge, and why it has no answer.

    Raises:
        NotFoundError: this home has no journal.
        UnreachableError: the ledger cannot be read.
    """
    from modelreg_verifier.receipts.challenges import Respondent, waiting_challenges

    with own_records(session) as records, receipt_log(session) as log:
        waiting = waiting_challenges(log, records)
        respondent = Respondent(log, records)
        if dry_run or not waiting:
            yield from (_answered(respondent, each, None) for each in waiting)
            return
        with challenge_writer(session, password_file) as challenges:
            yield from (_answered(respondent, each, challenges) for each in waiting)


def _answered(
    respondent: "Respondent", found: "OpenChallenge", challenges: "Challenges | None"
) -> tuple[dict[str, Any], ModelregError | None]:
    receipt: Receipt | None = None
    outcome, failure = "open", None
    try:
        answer = respondent.answer(found)
        if challenges is not None:
            receipt = answer.send(challenges)
            outcome = "answered"
    except ModelregError as error:
        failure = error
    document = {
        "id": f"0x{found.id.hex()}",
        "deadline": utc(found.challenge.deadline),
        "outcome": outcome,
        "error": str(failure) if failure else None,
        **cost(receipt),
    }
    return document, failure


class ChallengeWatch:
    """Answers challenges while `serve` runs, and says each failure once.

    In a thread of its own: an answer that waits to be mined holds nothing else up. It may be ended at any
    time, as what is sent was journaled before.
    """

    def __init__(self, session: Session, password_file: Path | None) -> None:
        self._session, self._password_file = session, password_file
        self._told: set[tuple[str, str]] = set()
        self._thread: Thread | None = None

    def look(self, log: Callable[[dict[str, Any]], None]) -> None:
        """Begin to answer what waits, unless that goes on; what goes wrong is a line of the log."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._answer, args=(log,), name="challenges", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Give an answer that is on its way a few seconds."""
        if self._thread is not None:
            self._thread.join(_GRACE_SECONDS)

    def _answer(self, log: Callable[[dict[str, Any]], None]) -> None:
        try:
            for row, _ in answer_all(self._session, self._password_file):
                self._tell(log, row["id"], row)
        except Exception as error:  # noqa: BLE001  whatever it is, the node goes on serving
            self._tell(log, "", {"error": str(error)})

    def _tell(self, log: Callable[[dict[str, Any]], None], name: str, row: dict[str, Any]) -> None:
        told = name, str(row["error"])
        if told not in self._told:
            self._told.add(told)
            log({"event": "challenge", **row})
