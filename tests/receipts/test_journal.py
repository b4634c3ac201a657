"""The journal: order, durability, locks, retention."""

import os
import shutil
import sqlite3
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from modelreg.errors import (
    ConflictError,
    FormatError,
    ModelregError,
    NotFoundError,
    UnreachableError,
    VerificationError,
)
from modelreg.format.batch import Batch
from modelreg.format.receipt import Domain, SignedReceipt
from modelreg_verifier.receipts import journal as module
from modelreg_verifier.receipts import records as records_module
from modelreg_verifier.receipts.database import connect
from modelreg_verifier.receipts.log import segments_of
from modelreg_verifier.receipts.records import KEEP_SECONDS, Anchored, Records
from modelreg_verifier.receipts.segments import Retention, bytes_of
from modelreg_verifier.serving.recorder import FullError
from tests.receipts.making import (
    DOMAIN,
    NODE,
    NOW,
    OTHER,
    PLAN,
    Clock,
    appended,
    check_chain,
    draft,
    inference,
    journal,
    record,
    segment_files,
)

DAY = 86_400


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite"


@pytest.fixture
def records():
    opened = []

    def open_(path):
        opened.append(Records(path))
        return opened[-1]

    yield open_
    for found in opened:
        found.close()


def test_receipts_are_chained_and_signed(tmp_path, path, records):
    with journal(tmp_path) as opened:
        made = appended(opened, 5)
        found = records(path)
        page = found.page(opened.epoch, 0, 100)
        assert page == [bytes(signed) for signed in made]
        check_chain(page)
        assert {signed.receipt.issued_at for signed in made} == {int(NOW)}
        assert (found.node, found.domain) == (NODE.address, DOMAIN)
        digest = made[3].receipt.digest(DOMAIN)
        assert found.find(digest).signed == made[3]
        with pytest.raises(NotFoundError):
            found.find(bytes(32))


def test_many_threads_get_one_sequence(tmp_path, path, records):
    with journal(tmp_path) as opened, ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: opened.append(draft(number))[0], range(400)))
        page = records(path).page(opened.epoch, 0, 1000)
    assert sorted(signed.receipt.seq for signed in made) == list(range(400))
    assert {signed.receipt.request_id for signed in made} == {n.to_bytes(32, "big") for n in range(400)}
    assert {bytes(signed) for signed in made} == set(page)
    check_chain(page)


def test_a_receipt_is_written_before_anybody_has_it(tmp_path, path):
    """Another process finds it at once, indexed or not."""
    with journal(tmp_path) as opened:
        for count in range(1, 4):
            [signed] = appended(opened, 1)
            with closing(Records(path)) as other:
                assert other.find(signed.receipt.digest(DOMAIN)).signed == signed
                assert len(other.page(opened.epoch, 0, 10)) == count


def test_the_index_never_lags_far_behind(tmp_path, path):
    with journal(tmp_path) as opened, closing(connect(path)) as other:
        for number in range(200):
            opened.append(draft(number))
            [[indexed]] = other.execute("SELECT count(*) FROM receipt")
            assert number + 1 - indexed <= module._UNINDEXED_MAX


def test_readers_and_the_node_index_at_the_same_time(tmp_path, path):
    def read(_):
        with closing(Records(path)) as found:
            for _ in range(50):
                check_chain(found.page(opened.epoch, 0, 1000))

    small = Retention(segment_bytes=20_000)
    with journal(tmp_path, retention=small) as opened, ThreadPoolExecutor(4) as pool:
        readers = pool.map(read, range(3))
        appended(opened, 400)
        list(readers)
        with closing(Records(path)) as found:
            assert len(found.page(opened.epoch, 0, 1000)) == 400


def test_only_the_operator_can_read_the_files(tmp_path, path):
    with journal(tmp_path) as opened:
        appended(opened, 1)
        names = [path, *segments_of(path).iterdir(), path.with_name("journal.sqlite-wal")]
        assert {stat.S_IMODE(name.stat().st_mode) for name in names} == {0o600}
        assert stat.S_IMODE(segments_of(path).stat().st_mode) == 0o700


# Epochs.


def test_every_start_begins_a_new_epoch(tmp_path, path, records):
    epochs = []
    for _ in range(3):
        with journal(tmp_path) as opened:
            epochs.append(opened.epoch)
            appended(opened, 2)
    assert epochs == [int(NOW * 1000) + number for number in range(3)]
    for epoch in epochs:
        check_chain(records(path).page(epoch, 0, 10))


def test_clock_jump_backwards_leads_to_no_second_receipt_for_one_place(tmp_path):
    clock = Clock()
    with journal(tmp_path, clock=clock) as opened:
        first = opened.epoch
        clock.now -= 365 * DAY
        [signed] = appended(opened, 1)
        assert signed.receipt.issued_at == int(clock.now)
    with journal(tmp_path, clock=clock) as opened:
        assert opened.epoch == first + 1


def test_clock_before_1970(tmp_path):
    with journal(tmp_path, clock=Clock(-1e9)) as opened:
        assert opened.epoch == 0
        assert appended(opened, 1)[0].receipt.issued_at == 0


def test_clock_far_ahead_is_refused(tmp_path, path):
    with pytest.raises(ConflictError, match="no epoch is left"), journal(tmp_path, clock=Clock(2**53)):
        pass
    with journal(tmp_path) as opened:  # and left nothing behind
        assert opened.epoch == int(NOW * 1000)


def test_old_copy_put_back_leads_to_no_second_receipt_for_one_place(tmp_path, path, records):
    clock = Clock()
    with journal(tmp_path, clock=clock) as opened:
        appended(opened, 2)
    shutil.copytree(tmp_path, tmp_path / "copy")
    clock.now += 1
    with journal(tmp_path, clock=clock) as opened:
        lost = appended(opened, 3)
    clock.now += 1
    with journal(tmp_path / "copy", clock=clock) as opened:
        again = appended(opened, 3)
    places = [(signed.receipt.epoch, signed.receipt.seq) for signed in (*lost, *again)]
    assert len(set(places)) == 6
    assert not records(tmp_path / "copy" / "journal.sqlite").holds(*places[2])
    assert records(path).holds(*places[2])


def test_old_copy_and_clock_set_back_the_ledger_tells(tmp_path):
    with journal(tmp_path) as opened:
        lost = opened.epoch
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    with journal(tmp_path, clock=Clock(NOW - DAY), anchored_epoch=lost) as opened:
        assert opened.epoch == lost + 1


def test_the_epoch_is_on_the_disk_before_anything_is_signed(tmp_path, monkeypatch):
    durable = []
    real = module.durably
    monkeypatch.setattr(module, "durably", lambda *given: (durable.append(True), real(*given))[1])
    with journal(tmp_path):
        assert durable == [True]


# Who may write.


def test_second_process_is_refused(tmp_path):
    with journal(tmp_path), pytest.raises(ConflictError, match="in use") as error, journal(tmp_path):
        pass
    assert error.value.exit_code == 5
    assert "one process at a time" in error.value.hint


def test_a_journal_that_was_closed_can_be_opened(tmp_path):
    with journal(tmp_path) as opened:
        pass
    with pytest.raises(UnreachableError, match="closed"):
        opened.append(draft())
    with journal(tmp_path):
        pass


@pytest.mark.parametrize(
    "other", [{"signer": OTHER}, {"domain": Domain(1, b"\x11" * 20)}, {"domain": Domain(31337, bytes(20))}]
)
def test_journal_of_another_node_chain_or_contract(tmp_path, other):
    with journal(tmp_path):
        pass
    with pytest.raises(ConflictError, match="another node, chain or contract"), journal(tmp_path, **other):
        pass


def test_what_is_no_journal(tmp_path, path):
    path.write_bytes(b"x" * 4096)
    with pytest.raises(FormatError), journal(tmp_path):
        pass
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(FormatError), journal(tmp_path):
        pass
    with pytest.raises(NotFoundError):
        Records(tmp_path / "none")


def test_link_in_place_of_the_journal(tmp_path, path):
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VerificationError), journal(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


# What goes wrong.


def test_full_disk_signs_nothing_twice(tmp_path, path, records):
    """No space for the index: what was refused was not signed, and nothing is lost."""
    with journal(tmp_path) as opened:
        appended(opened, 2)
        opened._connection.execute("PRAGMA max_page_count = 1")
        failed = 0
        for number in range(200):
            try:
                opened.append(draft(1000 + number))
            except ModelregError as error:
                assert isinstance(error, UnreachableError)
                assert "space" in str(error)
                failed += 1
        assert failed
        opened._connection.execute("PRAGMA max_page_count = 1000000")
        appended(opened, 2)
        page = records(path).page(opened.epoch, 0, 1000)
        assert len(page) == 2 + 200 - failed + 2
        check_chain(page)


def test_tensors_that_cannot_be_written(tmp_path, path, records, monkeypatch):
    def full(descriptor, parts):
        os.write(descriptor, bytes(parts[0])[:20])
        raise OSError(28, "No space left on device")

    with journal(tmp_path) as opened:
        appended(opened, 1)
        with monkeypatch.context() as patched:
            patched.setattr(os, "writev", full)
            for _ in range(2):
                with pytest.raises(UnreachableError, match="No space left"):
                    opened.append(draft(9))
        made = appended(opened, 2, size=100)
        found = records(path)
        page = found.page(opened.epoch, 0, 10)
        assert len(page) == 3
        check_chain(page)
        assert found.kept(found.find(made[1].receipt.digest(DOMAIN))).inputs["x"].dims == (100,)
        assert len(segment_files(tmp_path)) == 1
        assert opened.room[0] == bytes_of(segments_of(path))


def test_a_partial_entry_that_cannot_be_taken_back(tmp_path, path, records, monkeypatch):
    """It ends its file, and the same place is signed for in the next."""

    def full(descriptor, parts):
        os.write(descriptor, bytes(parts[0])[:600])
        raise OSError(28, "No space left on device")

    def refused(*_):
        raise OSError(5, "Input/output error")

    with journal(tmp_path) as opened:
        appended(opened, 1)
        with monkeypatch.context() as patched:
            patched.setattr(os, "writev", full)
            patched.setattr(os, "ftruncate", refused)
            with pytest.raises(UnreachableError, match="No space left"):
                opened.append(draft(9))
        appended(opened, 2)
        assert len(segment_files(tmp_path)) == 2
        page = records(path).page(opened.epoch, 0, 10)
        assert len(page) == 3
        check_chain(page)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_another_error_in_the_midst_of_a_write(tmp_path, path, records, monkeypatch, error):
    def broken(descriptor, parts):
        os.write(descriptor, bytes(parts[0])[:700])
        raise error

    with journal(tmp_path) as opened:
        appended(opened, 1)
        with monkeypatch.context() as patched:
            patched.setattr(os, "writev", broken)
            with pytest.raises(error):
                opened.append(draft(9, size=1000))
        made = appended(opened, 3)
        page = records(path).page(opened.epoch, 0, 10)
        assert page[1:] == [bytes(signed) for signed in made]
        check_chain(page)


def test_nothing_is_signed_that_there_is_no_room_for(tmp_path, monkeypatch):
    with journal(tmp_path, retention=Retention(bytes_max=1000)) as opened:
        monkeypatch.setattr(opened, "_signer", None)
        for _ in range(3):
            with pytest.raises(FullError):
                opened.append(draft(1, size=2000))


def test_a_file_in_the_midst_that_is_gone_hides_nothing(tmp_path, path, records):
    """An empty one, which whoever cleans up may remove."""
    with journal(tmp_path, retention=Retention(segment_bytes=1)) as opened:
        appended(opened, 1)
        opened._segments._segment += 3
        appended(opened, 2)
        check_chain(records(path).page(opened.epoch, 0, 10))
        assert len(records(path).page(opened.epoch, 0, 10)) == 3


def test_a_full_disk_can_be_read(tmp_path, path, records):
    """What the index cannot take is missing, and said to be, where it counts."""
    with journal(tmp_path) as opened:
        made = appended(opened, 2)
        found = records(path)
        assert len(found.page(opened.epoch, 0, 10)) == 2
        more = appended(opened, 30)
        found._connection.execute("PRAGMA max_page_count = 1")
        assert found.find(made[0].receipt.digest(DOMAIN)).signed == made[0]
        assert len(found.page(opened.epoch, 0, 100)) == 2
        for ask in (
            lambda: found.find(more[0].receipt.digest(DOMAIN)),
            found.unbatched,
            lambda: found.holds(opened.epoch, 20),
        ):
            with pytest.raises(UnreachableError, match="space"):
                ask()
        assert found.holds(opened.epoch, 1)
        found._connection.execute("PRAGMA max_page_count = 1000000")
        assert found.find(more[-1].receipt.digest(DOMAIN)).signed == more[-1]


def test_a_reader_waits_for_nobody_where_nothing_is_new(tmp_path, path, records):
    """Half an entry is nothing new."""
    with journal(tmp_path) as opened:
        appended(opened, 1)
        found = records(path)
        assert found.unbatched()
        with (segments_of(path) / segment_files(tmp_path)[0]).open("ab") as file:
            file.write(bytes(600))
        with closing(connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            assert found.unbatched()
            assert time.monotonic() - started < 0.5
            other.execute("ROLLBACK")


def test_a_file_that_is_removed_while_a_receipt_is_signed(tmp_path, path, monkeypatch):
    """What was written there is gone, so nobody gets the receipt."""
    real = os.writev

    def removing(descriptor, parts):
        for name in segment_files(tmp_path):
            (segments_of(path) / name).unlink()
        return real(descriptor, parts)

    with journal(tmp_path) as opened:
        appended(opened, 1)
        monkeypatch.setattr(os, "writev", removing)
        with pytest.raises(UnreachableError, match="kept"):
            opened.append(draft(8))
        monkeypatch.undo()
        with pytest.raises(UnreachableError, match="removed"):
            opened.append(draft(9))


def test_a_write_whose_end_is_not_known(tmp_path, path, records, monkeypatch):
    """The entry is there, and its writer was told that it failed: the next goes on behind it."""
    real = os.writev

    def lying(descriptor, parts):
        real(descriptor, parts)
        raise OSError(5, "Input/output error")

    with journal(tmp_path) as opened:
        appended(opened, 1)
        with monkeypatch.context() as patched:
            patched.setattr(os, "writev", lying)
            with pytest.raises(UnreachableError, match="Input/output error"):
                opened.append(draft(8))
        appended(opened, 2)
        page = records(path).page(opened.epoch, 0, 10)
    assert len(page) == 4
    check_chain(page)


def test_the_newest_file_is_removed_under_a_node(tmp_path, path, records):
    """By somebody else: then nothing more is signed, and the next start begins a new epoch."""
    with journal(tmp_path) as opened:
        appended(opened, 3)
        for name in segment_files(tmp_path):
            (segments_of(path) / name).unlink()
        for _ in range(2):
            with pytest.raises(UnreachableError, match="removed"):
                appended(opened, 1)
    with journal(tmp_path) as again:
        appended(again, 2)
        check_chain(records(path).page(again.epoch, 0, 10))
        assert records(path).unbatched() == (again.epoch, 0, 2)


def test_the_newest_file_is_removed_and_the_next_entry_begins_another(tmp_path, path):
    """The gap would keep all that follows out of the index."""
    with journal(tmp_path, retention=Retention(segment_bytes=4000)) as opened:
        appended(opened, 3)
        for name in segment_files(tmp_path):
            (segments_of(path) / name).unlink()
        for _ in range(2):
            with pytest.raises(UnreachableError, match="removed"):
                appended(opened, 1, size=3000)


def test_power_took_the_end_of_a_file_and_left_the_next(tmp_path, path, records):
    """Behind the gap nothing was anchored: the epoch ends before it, and later ones are not held up."""
    with journal(tmp_path, retention=Retention(segment_bytes=2000)) as opened:
        appended(opened, 9, size=100)
    first, *others = segment_files(tmp_path)
    assert others
    os.truncate(segments_of(path) / first, (segments_of(path) / first).stat().st_size - 10)
    with journal(tmp_path) as again:
        appended(again, 2)
        found = records(path)
        whole = len(found.page(opened.epoch, 0, 100))
        assert 0 < whole < 9
        for epoch, count in ((opened.epoch, whole), (again.epoch, 2)):
            assert found.unbatched() == (epoch, 0, count)
            found.add_batch(batch_of(found))


def test_files_removed_under_a_node_never_lead_to_a_second_receipt_for_one_place(tmp_path, path, monkeypatch):
    with journal(tmp_path, retention=Retention(segment_bytes=2000)) as opened:
        appended(opened, 9, size=100)
        for name in segment_files(tmp_path)[:-1]:
            (segments_of(path) / name).unlink()
        opened._next = None  # as after a write that failed
        for _ in range(2):
            with pytest.raises(UnreachableError, match="no receipt can be signed"):
                appended(opened, 1)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 570, 571, 600])
def test_an_entry_that_is_not_whole(tmp_path, path, records, kept):
    """Cut off anywhere, it was never in the journal, and the entries before it are."""
    with journal(tmp_path) as opened:
        appended(opened, 2, size=100)
    file = segments_of(path) / segment_files(tmp_path)[0]
    size = file.stat().st_size // 2
    os.truncate(file, size + kept)
    assert len(records(path).page(opened.epoch, 0, 10)) == 1
    with journal(tmp_path) as again:
        appended(again, 1)
        assert len(records(path).page(again.epoch, 0, 10)) == 1
    assert len(records(path).page(opened.epoch, 0, 10)) == 1


@pytest.mark.parametrize("at", [0, 4, 8, 16, 48, 400, 570])
def test_an_entry_that_the_power_damaged(tmp_path, path, records, at):
    with journal(tmp_path) as opened:
        appended(opened, 3, size=100)
    file = segments_of(path) / segment_files(tmp_path)[0]
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 3 + at] ^= 1
    file.write_bytes(raw)
    assert len(records(path).page(opened.epoch, 0, 10)) == 1


def test_writes_are_partial(tmp_path, path, records, monkeypatch):
    real = os.writev
    monkeypatch.setattr(os, "writev", lambda descriptor, parts: real(descriptor, [parts[0][:7]]))
    with journal(tmp_path) as opened:
        record(opened)
        found = records(path)
        [raw] = found.page(opened.epoch, 0, 1)
        kept = found.kept(found.find(SignedReceipt.from_bytes(raw).receipt.digest(DOMAIN)))
        assert bytes(kept.inputs["x"].data) == bytes(inference().inputs["x"].data)


# Batches.


def batch_of(found, count=None):
    epoch, first, most = found.unbatched()
    return found.tree(epoch, first, count or most).batch


def test_batches_follow_epochs(tmp_path, path, records):
    epochs = []
    for _ in range(2):
        with journal(tmp_path) as opened:
            epochs.append(opened.epoch)
            made = appended(opened, 3)
    with journal(tmp_path):  # an epoch without receipts is in nobody's way
        pass
    found = records(path)
    assert found.unbatched() == (epochs[0], 0, 3)
    found.add_batch(batch_of(found, 2))
    assert found.unbatched() == (epochs[0], 2, 1)
    found.add_batch(batch_of(found))
    last = batch_of(found)
    assert (last.epoch, last.first, last.count) == (epochs[1], 0, 3)
    found.add_batch(last)
    assert found.unbatched() is None
    assert [row.batch for row in found.batches()][-1] == last
    tree = found.tree(last.epoch, 0, 3)
    last.verify_receipt(made[1].receipt, DOMAIN, tree.prove(1))


def test_a_batch_that_is_not_the_next(tmp_path, path, records):
    with journal(tmp_path) as opened:
        appended(opened, 3)
        found = records(path)
        good = batch_of(found)
        for epoch, first, count in ((0, 0, 3), (good.epoch, 1, 2), (good.epoch, 0, 4)):
            with pytest.raises(ConflictError):
                found.add_batch(Batch(NODE.address, epoch, first, count, good.root))
        found.add_batch(good)
        with pytest.raises(ConflictError):
            found.add_batch(good)
        with pytest.raises(NotFoundError):
            found.tree(good.epoch, 0, 4)
        with pytest.raises(NotFoundError):
            found.batch(good.epoch, 1)


def test_receipts_and_openings_are_on_the_disk_before_their_batch(tmp_path, path, records, monkeypatch):
    order = []
    with journal(tmp_path) as opened:
        appended(opened, 1)
        found = records(path)
        real_sync, real_durably = records_module.sync_segments, records_module.durably
        monkeypatch.setattr(
            records_module, "sync_segments", lambda place: (order.append("tensors"), real_sync(place))
        )
        monkeypatch.setattr(
            records_module, "durably", lambda *given: (order.append("receipts"), real_durably(*given))[1]
        )
        found.add_batch(batch_of(found))
    assert order == ["tensors", "receipts"]


def test_anchors_are_noted_and_moved(tmp_path, path, records):
    with journal(tmp_path) as opened:
        appended(opened, 1)
        found = records(path)
        batch = batch_of(found)
        with pytest.raises(NotFoundError):
            found.note_anchor(Anchored(batch, 0, 7, 1))
        found.add_batch(batch)
        assert found.batch(batch.epoch, 0) == Anchored(batch)
        for block in (7, 9):
            found.note_anchor(Anchored(batch, 0, block, 1))
            assert found.batch(batch.epoch, 0).block == block


# Retention.


def test_openings_cannot_be_evicted_by_large_requests(tmp_path, path, records):
    limits = Retention(bytes_max=8000, segment_bytes=2000)
    with journal(tmp_path, retention=limits) as opened:
        made = appended(opened, 5, size=300)
        with pytest.raises(FullError, match="no room"):
            appended(opened, 30, size=300)
        used, most = opened.room
        assert used <= most == limits.bytes_max
        assert used == bytes_of(segments_of(path))
        found = records(path)
        for signed in made:
            assert found.kept(found.find(signed.receipt.digest(DOMAIN))).inputs["x"].dims == (300,)
    with journal(tmp_path, retention=limits) as opened, pytest.raises(FullError):
        appended(opened, 1, size=300)  # after a start too


def test_room_comes_back_when_openings_go(tmp_path, path, records):
    limits = Retention(bytes_max=3000, segment_bytes=1000)
    with journal(tmp_path, retention=limits) as opened:
        appended(opened, 2, size=700)
        used, _ = opened.room
        with pytest.raises(FullError):
            appended(opened, 1, size=700)
        records(path).prune(time.time() + limits.seconds_max + 5, limits)
        opened.recount()
        assert opened.room == (used // 2, 3000)  # the newest file stays: the node writes to it
        appended(opened, 1, size=700)
        check_chain(records(path).page(opened.epoch, 0, 10))


def test_what_was_refused_or_failed_takes_no_room(tmp_path, path, monkeypatch):
    with journal(tmp_path) as opened:
        monkeypatch.setattr(opened, "_signer", None)
        with pytest.raises(AttributeError):
            appended(opened, 1, size=10)
        assert opened.room[0] == bytes_of(segments_of(path)) == 0


def test_openings_of_a_late_anchor_stay_until_nobody_can_judge_them(tmp_path, path, records):
    """Answered long before their batch was anchored."""
    limits = Retention(segment_bytes=1000)
    with journal(tmp_path, retention=limits) as opened:
        made = appended(opened, 6, size=300)
        found = records(path)
        late = time.time() + 10 * 86_400
        early = batch_of(found, 2)
        found.add_batch(early)
        found.note_anchor(Anchored(early, 0, 7, int(time.time())))
        waiting = batch_of(found, 4)
        found.add_batch(waiting)
        found.note_anchor(Anchored(waiting, 1, 8, int(late)))
        rows = [found.find(signed.receipt.digest(DOMAIN)) for signed in made]
        found.prune(time.time() + 20 * 86_400, limits)
        assert len({row.place.segment for row in rows}) > 2
        for row in rows[2:]:
            assert found.kept(row)
        assert not (segments_of(path) / rows[0].place.name).exists()
        found.prune(late + KEEP_SECONDS + 5, limits)
        with pytest.raises(NotFoundError):
            found.kept(rows[2])


def test_old_tensors_go(tmp_path, path, records):
    with journal(tmp_path, retention=Retention(segment_bytes=1)) as opened:
        signed, _ = appended(opened, 2, size=10)
        found = records(path)
        row = found.find(signed.receipt.digest(DOMAIN))
        written = (segments_of(path) / segment_files(tmp_path)[0]).stat().st_mtime
        found.prune(written + Retention().seconds_max - 5, Retention())
        assert found.kept(row)
        found.prune(written + Retention().seconds_max + 5, Retention())
        with pytest.raises(NotFoundError):
            found.kept(row)


def test_receipts_stay_until_nobody_can_challenge_them(tmp_path, path, records, monkeypatch):
    monkeypatch.setattr(records_module, "_SLICE", 2)
    with journal(tmp_path) as opened:
        appended(opened, 8)
        found = records(path)
        anchored, waiting = batch_of(found, 5), None
        found.add_batch(anchored)
        waiting = batch_of(found, 2)
        found.add_batch(waiting)
        found.note_anchor(Anchored(anchored, 0, 7, int(NOW)))
        assert found.prune(NOW + KEEP_SECONDS, Retention()) == 0
        assert found.prune(NOW + KEEP_SECONDS + 1, Retention()) == 5
        assert [SignedReceipt.from_bytes(raw).receipt.seq for raw in found.page(opened.epoch, 5, 9)] == [
            5,
            6,
            7,
        ]
        assert found.page(opened.epoch, 0, 9) == []
        assert found.unbatched() == (opened.epoch, 7, 1)
        appended(opened, 1)
        assert found.holds(opened.epoch, 8)


def test_a_failed_write_after_all_was_pruned_signs_nothing_twice(tmp_path, path, records):
    with journal(tmp_path) as opened:
        appended(opened, 3)
        found = records(path)
        anchored = batch_of(found, 3)
        found.add_batch(anchored)
        found.note_anchor(Anchored(anchored, 0, 7, int(NOW)))
        assert found.prune(NOW + KEEP_SECONDS + 1, Retention()) == 2
        opened._next = None
        [signed] = appended(opened, 1)
        assert signed.receipt.seq == 3
        assert signed.receipt.prev_receipt != bytes(32)


def test_tensors_lost_with_the_power(tmp_path, path, records):
    with journal(tmp_path) as opened:
        [signed] = appended(opened, 1, size=100)
    file = segments_of(path) / segment_files(tmp_path)[0]
    raw = file.read_bytes()
    found = records(path)
    row = found.find(signed.receipt.digest(DOMAIN))
    file.write_bytes(raw[:-1])
    with pytest.raises(NotFoundError, match="ends early"):
        found.kept(row)
    file.write_bytes(bytes(len(raw)))
    with pytest.raises(FormatError):
        found.kept(row)


def test_blocks_are_written_once(tmp_path, path, records):
    with journal(tmp_path) as opened:
        for _ in range(3):
            record(opened)
        found = records(path)
        assert found.block(PLAN.plan_id) == bytes(PLAN)
        with pytest.raises(NotFoundError):
            found.block(bytes(32))
