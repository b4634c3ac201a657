"""What a node answers about its receipts over HTTP. Specified in docs/spec/openings.md, section 6."""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from modelreg.errors import FormatError, ModelregError, NotFoundError
from modelreg.format.receipt import INTEGER_END
from modelreg.format.receipt_text import to_object
from modelreg_verifier.receipts.access import Access
from modelreg_verifier.receipts.assembly import Parts, Remake, assemble, parse_parts
from modelreg_verifier.receipts.claim import SEGMENTS_MAX, Claim, write_claim
from modelreg_verifier.receipts.opening import write_opening
from modelreg_verifier.receipts.proving import NotAnchoredError, Proofs
from modelreg_verifier.receipts.records import Anchored, Records
from modelreg_verifier.serving.exchange import Refusal, Reply

__all__ = ["PAGE_MAX", "ReceiptPages"]

PAGE_MAX = 2048
_BYTES = "application/octet-stream"
_OPENINGS_AT_ONCE = 2
_SMALL_BYTES = 4 << 20
_WAIT_SECONDS = 20
_DIGEST = re.compile(r"/0x([0-9a-f]{64})")
_PLACE = re.compile(r"/([0-9]{1,16})/([0-9]{1,16})")


class ReceiptPages:
    """Answers GET below `/receipts`, `/batches`, `/proofs`, `/openings` and `/claims`.

    Each method takes the path behind its prefix, the query and the headers, and raises Refusal or
    NotFoundError.

    Args:
        records: what the node has.
        access: who may see openings.
        remake: computes again what was not kept.
        claim: makes the claim over a segment of a receipt, given by its digest; None for a node without.
    """

    def __init__(
        self,
        records: Records,
        access: Access,
        remake: Remake,
        claim: Callable[[bytes, int], Claim] | None = None,
    ) -> None:
        self._records, self._access, self._remake, self._claim = records, access, remake, claim
        self._opening = asyncio.Semaphore(_OPENINGS_AT_ONCE)
        self._proofs = Proofs(records)

    async def receipts(self, path: str, query: Mapping[str, str], _headers: Mapping[str, str]) -> Reply:
        """One receipt as JSON, or many one after the other, 387 bytes each."""
        if path:
            record = await asyncio.to_thread(self._records.find, _digest(path))
            return Reply.json(to_object(record.signed, self._records.domain))
        epoch, first = _number(query, "epoch"), _number(query, "first")
        count = _number(query, "count", PAGE_MAX)
        page = await asyncio.to_thread(self._records.page, epoch, first, min(count, PAGE_MAX))
        if not page:
            raise NotFoundError(f"no receipt of epoch {epoch}, seq {first}")
        return Reply(200, page, _BYTES)

    async def batches(self, path: str, _query: Mapping[str, str], _headers: Mapping[str, str]) -> Reply:
        """A batch as JSON."""
        match = _PLACE.fullmatch(path)
        if match is None or max(map(int, match.groups())) >= INTEGER_END:
            raise Refusal(404, "a batch is at /batches/EPOCH/FIRST")
        return Reply.json(_batch(await asyncio.to_thread(self._records.batch, *map(int, match.groups()))))

    async def proofs(self, path: str, _query: Mapping[str, str], _headers: Mapping[str, str]) -> Reply:
        """Where a receipt is anchored, and the siblings that show it."""
        digest = _digest(path)
        await asyncio.to_thread(self._records.find, digest)
        try:
            found = await asyncio.to_thread(self._proofs.prove, digest)
        except NotAnchoredError as error:
            raise Refusal(409, str(error)) from None
        except NotFoundError as error:
            raise Refusal(410, str(error)) from None
        return Reply.json(found.to_object())

    async def openings(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        """An opening, or the parts of it that are asked for."""
        digest = _digest(path)
        self._access.check(headers, digest)
        try:
            parts = parse_parts(query["parts"]) if "parts" in query else Parts()
        except FormatError as error:
            raise Refusal(400, str(error)) from None
        return await self._one_of_few(lambda: self._open(digest, parts))

    async def claims(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        """What each operator of a segment made (dispute.md, section 2)."""
        digest = _digest(path)
        self._access.check(headers, digest)
        segment = _number(query, "segment")
        if segment >= SEGMENTS_MAX:
            raise Refusal(400, f"segment must be a number below {SEGMENTS_MAX}")
        return await self._one_of_few(lambda: self._state(digest, segment))

    async def _one_of_few(self, make: Callable[[], Reply]) -> Reply:
        """Make an answer when few others are in memory; a large one counts until it was sent."""
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._opening.acquire()
        except TimeoutError:
            raise Refusal(503, "others are being answered", retry_after=_WAIT_SECONDS) from None
        try:
            reply = await asyncio.to_thread(make)
        except BaseException:
            self._opening.release()
            raise
        if reply.size <= _SMALL_BYTES:
            self._opening.release()
            return reply
        return replace(reply, sent=self._opening.release)

    def _open(self, digest: bytes, parts: Parts) -> Reply:
        def parted() -> Iterator[bytes | memoryview]:
            return write_opening(assemble(self._records, digest, parts, self._remake))

        return self._shown(digest, parted)

    def _state(self, digest: bytes, segment: int) -> Reply:
        claim = self._claim
        if claim is None:
            raise Refusal(404, "this node makes no claims")
        return self._shown(digest, lambda: write_claim(claim(digest, segment)))

    def _shown(self, digest: bytes, made: Callable[[], Iterator[bytes | memoryview]]) -> Reply:
        self._records.find(digest)  # 404 is for what never was, 410 for what is gone
        try:
            return Reply(200, list(made()), _BYTES)
        except NotFoundError as error:
            raise Refusal(410, str(error)) from None
        except ModelregError as error:
            raise Refusal(500, str(error)) from None


def _digest(path: str) -> bytes:
    match = _DIGEST.fullmatch(path)
    if match is None:
        raise Refusal(404, "expected 0x and the 64 lower-case hexadecimal digits of a receipt's digest")
    return bytes.fromhex(match[1])


def _number(query: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = query.get(name, "" if default is None else str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 16 or int(text) >= INTEGER_END:
        raise Refusal(400, f"{name} must be a number below 2^53")
    return int(text)


def _batch(found: Anchored) -> dict[str, Any]:
    batch = found.batch
    where = {"position": found.position, "block": found.block, "at": found.at}
    return {
        "node": f"0x{batch.node.hex()}",
        "epoch": batch.epoch,
        "first": batch.first,
        "count": batch.count,
        "root": f"0x{batch.root.hex()}",
        "anchored": None if found.block is None else where,
    }
