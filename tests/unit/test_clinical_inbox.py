"""The durable inbox: stored once, worked off in order, kept for a person, moved out of an older ledger."""

import datetime as dt
import stat
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from support.hl7 import message, pid
from support.inbox import Ward, msa, tables, ward
from support.mllp import Peer, block

from config.settings import parse
from node.clinical_feed import ClinicalFeed, workplace
from node.feeds.mllp_committer import Arrived, NotStored
from node.inbox_consumer import BATCH, dismiss, replay
from node.store import alerts, feed_remarks, inbox, inbox_schema
from node.store import inbox_progress as progress
from node.store.alerts import AlertKind
from node.store.clinical_schema import observation
from node.store.engine import connect, open_ledger
from node.store.errors import LedgerUnavailable, NoSuchCase
from node.store.inbox import open_inbox
from node.store.inbox_progress import Spoiled
from node.store.metadata import metadata
from node.store.migrate import INBOX, LEDGER, upgrade
from node.store.schema import task

WEIGHT = "OBX|1|NM|29463-7^^LN||61.5|kg|||||F|||20250309"
OBR = "OBR|1||V1|34565-2^^LN"
SECRETS = ("100001", "MÜLLER", "ANNA", "61.5", "19480312")


def adt(control, value="100001"):
    return message("ADT^A04^ADT_A01", pid(value), control=control)


def oru(control, value="61.5"):
    return message("ORU^R01", pid(), OBR, WEIGHT.replace("61.5", value), control=control)


def many(count):
    return [adt(str(n), str(5001 + n)) for n in range(count)]


@pytest.fixture
def here(sqlite_ledger):
    with ward(sqlite_ledger) as w:
        yield w


@pytest.fixture
def both(ledger):
    """On SQLite and on PostgreSQL in turn."""
    with ward(ledger) as w:
        yield w


def states(w: Ward):
    """What became of each frame, oldest first."""
    with w.place.inbox.read() as c:
        name, infos = inbox.name_of(c), inbox.listed(c)
    with w.place.ledger.read() as c:
        held = {one.seq: one.reason for one in progress.held(c, name)}
        at = progress.position(c, name)
    return [
        held.get(i.seq) or (f"refused {i.refusal}" if i.refusal else "done" if i.seq <= at else "waiting")
        for i in reversed(infos)
    ]


def open_alerts(w: Ward):
    with w.place.ledger.read() as c:
        return [(a.kind, a.subject, a.detail) for a in alerts.find(c) if a.kind == AlertKind.QUARANTINED]


def counts(w: Ward):
    w.book.flush()
    with w.place.inbox.read() as c:
        return {(one.sending_app, one.outcome): one.count for one in inbox.contacts(c)}


def test_a_message_is_stored_once_and_a_resent_one_is_answered_aa_again(both):
    assert both.take(adt("1"), adt("1")) == ["AA", "AA"]
    assert both.take(adt("1")) == ["AA"]
    assert states(both) == ["done"]
    assert counts(both) == {("HIS", "stored"): 1, ("HIS", "repeated"): 2}


def test_repetitions_inside_one_group_are_stored_once(here):
    frames = [Arrived(data=adt(n), peer="::1") for n in ("1", "1", "2", "1")]
    assert [msa(r) for r in here.reception.commit(frames)] == ["AA"] * 4
    assert states(here) == ["waiting"] * 2


def test_msh_10_reused_with_other_content_is_processed_as_new_and_counted(here):
    assert here.take(oru("ACK", "61.5"), oru("ACK", "62.5")) == ["AA", "AA"]
    assert states(here) == ["done", "done"]
    assert counts(here)["HIS", "control-id-reused"] == 1
    assert len(tables(here.place.ledger)["observation"]) == 2


def test_a_poison_message_is_answered_ar_with_err_kept_with_its_reason_and_blocks_nothing(here):
    two = adt("1") + adt("2")
    replies = here.send(two, adt("3"))
    assert msa(replies[0]) == "AR"
    assert b"\rERR|" in replies[0]
    here.consumer.work_off()
    assert [s.split()[0] for s in states(here)] == ["refused", "done"]


def test_a_refused_message_that_is_fit_now_is_taken_when_it_is_sent_again(ledger):
    frame = adt("1").replace(b"|P|", b"|T|")
    with ward(ledger) as strict:
        assert strict.take(frame, frame) == ["AR", "AR"]
        assert states(strict) == ["refused HL7-202 MSH-11"]
    lenient = parse({"clinical": {"mllp": {"accept_test": True}}}, origin="test")
    with ward(ledger, lenient) as again:
        assert again.take(frame) == ["AA"]
        assert states(again) == ["done"]
    with ward(ledger) as strict:
        assert strict.take(frame) == ["AA"], "it is safe here already"
        assert states(strict) == ["done"]


def test_frames_are_worked_off_in_strict_receive_order_over_batches(here):
    here.take(*many(2 * BATCH + 3))
    known = tables(here.place.ledger)["person_identifier"]
    assert [row[2] for row in known] == [str(5001 + n) for n in range(2 * BATCH + 3)]


def break_on(c, table, column, value):
    """Have the database refuse one value, as no code foresaw."""
    if c.dialect.name == "postgresql":
        c.exec_driver_sql(f"ALTER TABLE {table} ADD CONSTRAINT broken CHECK ({column} <> '{value}')")
    else:
        c.exec_driver_sql(
            f"CREATE TRIGGER broken BEFORE INSERT ON {table} WHEN NEW.{column} = '{value}' "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )


def mend(c, table):
    postgresql = c.dialect.name == "postgresql"
    c.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT broken" if postgresql else "DROP TRIGGER broken")


def test_findings_after_the_ack_quarantine_the_frame_alone_and_raise_an_alert(both, capsys):
    with both.place.ledger.begin() as c:
        break_on(c, "observation", "raw_value", "66.6")
    nobody = message("ADT^A08", "PID|1||7654321||X^Y", control="n")
    assert both.take(adt("1", "5001"), oru("bad", "66.6"), adt("2", "5002"), nobody) == ["AA"] * 4
    assert states(both) == ["done", "UNEXPECTED IntegrityError", "done", "NO_ID"]
    assert sorted(open_alerts(both)) == [
        (AlertKind.QUARANTINED, "frame 2", "UNEXPECTED IntegrityError"),
        (AlertKind.QUARANTINED, "frame 4", "NO_ID"),
    ]
    found = tables(both.place.ledger)
    assert found["observation"] == []
    assert [row[2] for row in found["person_identifier"]] == ["5001", "5002"], "nothing of the spoiled frame is written"
    logged = "".join(capsys.readouterr())
    assert "hl7_spoiled" in logged
    assert not [secret for secret in (*SECRETS, "7654321", "66.6") if secret in logged]


def test_replay_takes_a_quarantined_frame_once_its_cause_is_mended(here):
    with here.place.ledger.begin() as c:
        break_on(c, "observation", "raw_value", "66.6")
    here.take(adt("1"), oru("bad", "66.6"))
    assert replay(here.place, 2) == "UNEXPECTED IntegrityError"
    with here.place.ledger.begin() as c:
        mend(c, "observation")
    assert replay(here.place, 2) == ""
    assert states(here) == ["done", "done"]
    assert open_alerts(here) == []
    assert len(tables(here.place.ledger)["observation"]) == 1
    with pytest.raises(NoSuchCase, match="no message 77"):
        replay(here.place, 77)


def test_replay_of_a_refused_frame_takes_it_by_the_settings_of_now(ledger):
    with ward(ledger) as strict:
        strict.take(oru("1").replace(b"|P|", b"|T|"))
        assert replay(strict.place, 1) == "HL7-202 MSH-11"
    with ward(ledger, parse({"clinical": {"mllp": {"accept_test": True}}}, origin="test")) as lenient:
        assert replay(lenient.place, 1) == ""
        lenient.consumer.work_off()
        assert states(lenient) == ["done"]
        assert len(tables(ledger)["observation"]) == 1


def test_dismiss_takes_a_frame_off_the_list(here):
    here.take(message("ADT^A08", "PID|1||7654321||X^Y", control="n"))
    assert dismiss(here.place, 1)
    assert not dismiss(here.place, 1)
    assert states(here) == ["done"]
    assert open_alerts(here) == []


HISTORY = (
    adt("1"),
    oru("2", "61.5"),
    oru("3", "62.5"),
    adt("4", "200002"),
    message("ADT^A40^ADT_A39", pid("200002"), "MRG|100001^^^HOSP^MR", control="5"),
    message("ADT^A08", "PID|1||7654321||X^Y", control="6"),
    message("ORM^O01", pid(), "ORC|NW|P1", "OBR|1|P1|F1|X||||||||||||||ACC1", control="7"),
    message("ORU^R01", pid(), OBR, "OBX|1|NM|29463-7^^LN||61.5|kg|||||D|||20250309", control="8"),
)


def test_replay_of_the_inbox_gives_identical_tables(tmp_path, monkeypatch):
    first = open_ledger(tmp_path / "ledger.db")
    with ward(first) as w:
        for frame in HISTORY:
            w.take(frame)
        before, kept = tables(first), states(w)
    first.close()
    assert before["observation"]
    assert before["person_alias"]
    (tmp_path / "ledger.db").unlink()
    for rest in tmp_path.glob("ledger.db-*"):
        rest.unlink()
    monkeypatch.setattr("node.inbox_consumer.BATCH", 3)
    second = open_ledger(tmp_path / "ledger.db")
    with ward(second) as w:
        w.consumer.work_off()
        assert tables(second) == before
        assert states(w) == kept
    second.close()


def test_a_void_that_finds_nothing_is_counted_among_the_remarks(here):
    here.take(message("ORU^R01", pid(), OBR, WEIGHT.replace("|F|", "|D|"), control="1"))
    with here.place.ledger.read() as c:
        assert {r.code: r.count for r in feed_remarks.find(c)} == {"VOID_NOT_FOUND": 1}


def test_working_a_frame_off_again_changes_nothing(here):
    here.take(*HISTORY)
    before = tables(here.place.ledger)
    with here.place.ledger.begin() as c:
        c.execute(sa.text("UPDATE inbox_cursor SET seq = 0"))
    here.consumer.work_off()
    after = tables(here.place.ledger)
    assert after["person"] == before["person"]
    assert after["order_link"] == before["order_link"]


def test_a_failure_between_clinical_write_and_cursor_writes_neither(here):
    here.send(*HISTORY)
    with here.place.ledger.begin() as c:
        break_on(c, "quarantined_frame", "reason", "NO_ID")
    with pytest.raises(sa.exc.IntegrityError):
        here.consumer.work_off()
    assert tables(here.place.ledger)["person"] == []
    with here.place.ledger.begin() as c:
        mend(c, "quarantined_frame")
    here.consumer.work_off()
    assert states(here).count("NO_ID") == 1
    assert tables(here.place.ledger)["person"]


def test_two_consumers_of_one_inbox_take_each_frame_once(both):
    both.send(*many(3 * BATCH))
    other = Ward(both.place).consumer
    threads = [threading.Thread(target=one.work_off) for one in (both.consumer, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tables(both.place.ledger)["person"]) == 3 * BATCH
    assert set(states(both)) == {"done"}


def test_what_ends_the_transaction_is_no_fault_of_the_frame(both):
    ended = sa.exc.OperationalError("COMMIT", {}, OSError())

    def locked():
        raise ended

    with pytest.raises(LedgerUnavailable), both.place.ledger.begin() as c:
        progress.apart(c, locked)
    with pytest.raises(Spoiled, match=r"OperationalError|ProgrammingError"), both.place.ledger.begin() as c:
        progress.apart(c, lambda: c.exec_driver_sql("SELECT nothing FROM nowhere"))


def test_a_full_disk_gives_no_aa(tmp_path):
    ledger = open_ledger(tmp_path / "ledger.db")
    with ward(ledger) as w:
        with w.place.inbox.begin() as c:
            pages = c.exec_driver_sql("PRAGMA page_count").scalar()
            c.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        large = adt("1") + b"NTE|1||" + b"x" * 500_000
        with pytest.raises(NotStored):
            w.send(large)
        with w.place.inbox.begin() as c:
            c.exec_driver_sql("PRAGMA max_page_count = 1000000")
        assert w.take(large) == ["AA"]
    ledger.close()


def test_an_import_that_writes_to_the_ledger_does_not_hold_up_an_ack(tmp_path):
    """The ledger's one write lock is held for as long as the sender waits; its answer comes all the same."""
    ledger = open_ledger(tmp_path / "ledger.db")
    frames = open_inbox(tmp_path / "ledger.db")
    feed = ClinicalFeed(ledger, frames, parse({"clinical": {"mllp": {"port": 0}}}, origin="test"))
    feed.start()
    with ledger.begin() as c:
        c.execute(sa.insert(task).values(lane="x", kind="import", key="1", due_at=0, created_at=0, updated_at=0))
        peer = Peer(feed.port)
        peer.send(block(adt("1")))
        assert peer.answer() == ["AA", "1"]
        peer.socket.close()
    feed.stop()
    frames.close()
    ledger.close()


def test_purge_keeps_what_is_young_not_worked_off_or_waits_for_a_person(both, monkeypatch):
    nobody = message("ADT^A08", "PID|1||7654321||X^Y", control="n")
    refused = adt("t").replace(b"|P|", b"|T|")
    both.take(adt("1"), nobody, refused)
    both.send(adt("late"))
    old = dt.datetime.now(dt.UTC) - dt.timedelta(days=31)
    with both.place.inbox.begin() as c:
        c.execute(sa.update(inbox_schema.frame).values(received_at=old))
    both.take()
    both.send(adt("later"))
    with both.place.ledger.begin() as c:
        c.execute(sa.text("UPDATE inbox_cursor SET seq = 3"))
    monkeypatch.setattr("node.inbox_consumer.PURGE_BATCH", 2)
    both.consumer.purge()
    with both.place.inbox.read() as c:
        assert [i.control_id for i in inbox.listed(c)] == ["later", "late", "n"]


def test_a_number_is_never_given_twice_also_when_everything_was_purged(both):
    both.take(adt("1"), adt("2"))
    with both.place.inbox.begin() as c:
        c.execute(sa.delete(inbox_schema.frame))
    both.take(adt("3"))
    with both.place.inbox.read() as c:
        assert [i.seq for i in inbox.listed(c)] == [3]
    assert states(both) == ["done"]


def test_a_new_inbox_beside_an_old_ledger_is_worked_off_from_its_beginning(tmp_path):
    ledger = open_ledger(tmp_path / "ledger.db")
    with ward(ledger) as w:
        w.take(adt("1", "501"), adt("2", "502"))
    for file in tmp_path.glob("inbox.db*"):
        file.unlink()
    with ward(ledger) as w:
        w.take(adt("3", "503"))
        assert states(w) == ["done"]
    assert len(tables(ledger)["person"]) == 3
    ledger.close()


def test_a_correction_reaches_the_ledger_also_after_the_inbox_was_lost(tmp_path):
    ledger = open_ledger(tmp_path / "ledger.db")
    with ward(ledger) as w:
        w.take(oru("1", "70.0"), oru("2"))
    for file in tmp_path.glob("inbox.db*"):
        file.unlink()
    with ward(ledger) as w:
        w.take(message("ORU^R01", pid(), OBR, WEIGHT.replace("||F||", "||D||"), control="3"))
    with ledger.read() as c:
        (row,) = c.execute(sa.select(observation).where(observation.c.superseded_at.is_(None))).all()
    assert (row.usable, row.reason, row.seq) == (False, "VOID", 3), "numbered beyond the frames of the lost inbox"
    ledger.close()


def test_what_comes_after_an_inbox_was_restored_from_an_older_backup_is_worked_off(tmp_path):
    ledger = open_ledger(tmp_path / "ledger.db")
    with ward(ledger) as w:
        w.take(adt("1", "501"))
    backup = (tmp_path / "inbox.db").read_bytes()
    with ward(ledger) as w:
        w.take(adt("2", "502"), adt("3", "503"))
    (tmp_path / "inbox.db").write_bytes(backup)
    with ward(ledger) as w:
        assert w.take(adt("4", "504")) == ["AA"]
        assert states(w) == ["done", "done"]
    assert len(tables(ledger)["person"]) == 4
    ledger.close()


def test_the_inbox_is_private_to_the_node(tmp_path):
    open_ledger(tmp_path / "ledger.db").close()
    assert not (tmp_path / "inbox.db").exists()
    open_inbox(tmp_path / "ledger.db").close()
    assert stat.S_IMODE((tmp_path / "inbox.db").stat().st_mode) == 0o600


def test_the_migrated_inbox_and_its_tables_in_code_agree(ledger_url):
    opened = open_ledger(Path(ledger_url).with_name("inbox.db") if "://" not in ledger_url else ledger_url, chain=INBOX)
    with opened.read() as c:
        context = MigrationContext.configure(c, opts={"version_table": INBOX.version_table})
        assert compare_metadata(context, inbox_schema.metadata) == []
    opened.close()


OLD = {
    "received_at": dt.datetime(2025, 3, 1, 9, tzinfo=dt.UTC),
    "peer": "10.0.0.1",
    "sending_app": "HIS",
    "sending_facility": "FAC",
    "message_type": "ADT^A04",
    "ack_code": "AA",
    "reason": "",
}


@pytest.mark.parametrize("crashed", [False, True])
def test_the_frames_of_an_older_ledger_are_moved_with_their_numbers_and_states(ledger_url, crashed):
    old = connect(ledger_url)
    frames = [
        (adt("1"), "done", ""),
        (b"hello", "refused", "HL7-207 MSH-1"),
        (oru("3"), "quarantined", "IDENTITY_CONFLICT"),
        (adt("4", "504"), "new", ""),
        (adt("5", "505"), "new", ""),
    ]
    table = sa.table("hl7_frame", *(sa.column(n) for n in (*OLD, "seq", "control_id", "sha256", "body", "state")))
    with old.begin() as c:
        upgrade(c, LEDGER, "0005")
        for seq, (body, state, reason) in enumerate(frames, 11):
            mine = {"seq": seq, "control_id": str(seq), "sha256": f"{seq:064}", "body": body, "state": state}
            c.execute(sa.insert(table).values(OLD | mine | {"reason": reason}))
        row = {"lane": "hl7", "kind": "process-frames", "key": "inbox", "due_at": 0, "created_at": 0, "updated_at": 0}
        c.execute(sa.insert(task).values(row))
    if crashed and "://" not in ledger_url:
        with old.begin() as c:
            savepoint = c.begin_nested()
            upgrade(c, LEDGER, "0006")
            savepoint.rollback()  # the frames are over there already, the ledger still has them too
    old.close()
    ledger = open_ledger(ledger_url)
    with ledger.read() as c:
        assert not sa.inspect(c).has_table("hl7_frame")
        assert c.execute(sa.select(task.c.kind)).all() == []
    with ward(ledger) as w:
        assert states(w) == ["done", "refused HL7-207 MSH-1", "IDENTITY_CONFLICT", "waiting", "waiting"]
        with w.place.inbox.read() as c:
            info, body = inbox.get(c, 13)
            assert (info.peer, info.received_at, info.size, body) == (
                "10.0.0.1",
                OLD["received_at"],
                len(body),
                oru("3"),
            )
        w.take(adt("6", "506"))
        assert states(w)[3:] == ["done", "done", "done"]
        with w.place.inbox.read() as c:
            assert inbox.listed(c)[0].seq == 16
    assert len(tables(ledger)["person"]) == 3
    ledger.close()


def test_frames_are_moved_to_where_the_inbox_is_looked_for_also_when_the_ledger_is_a_symbolic_link(tmp_path):
    """Else what was answered AA before the upgrade would never be worked off."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "node").mkdir()
    where = tmp_path / "node" / "ledger.db"
    where.symlink_to(tmp_path / "disk" / "ledger.db")
    old = connect(where)
    table = sa.table("hl7_frame", *(sa.column(n) for n in (*OLD, "seq", "control_id", "sha256", "body", "state")))
    mine = {"seq": 1, "control_id": "1", "sha256": f"{1:064}", "body": adt("1"), "state": "new", "reason": ""}
    with old.begin() as c:
        upgrade(c, LEDGER, "0005")
        c.execute(sa.insert(table).values(OLD | mine))
    old.close()
    open_ledger(where).close()
    opened = inbox.open_inbox(where)
    with opened.read() as c:
        assert [one.seq for one in inbox.listed(c)] == [1]
    opened.close()


def test_feed_settings_reach_the_reader(ledger):
    tables_of = {
        "site": {"timezone": "Europe/Berlin"},
        "clinical": {
            "mllp": {"timezone": "America/New_York", "default_issuer": "HOSP&1.2.3&ISO", "decimal_comma": True}
        },
    }
    frame = message(
        "ORU^R01", pid().replace("^^^HOSP^MR", ""), OBR, WEIGHT.replace("61.5", "61,5") + "1200", control="1"
    )
    with ward(ledger, parse(tables_of, origin="test")) as w:
        assert w.take(frame) == ["AA"]
        assert states(w) == ["done"]
    with ledger.read() as c:
        observation, identifier = metadata.tables["observation"], metadata.tables["person_identifier"]
        value, start = c.execute(sa.select(observation.c.value, observation.c.start_at)).one()
        issuer = c.execute(sa.select(identifier.c.namespace, identifier.c.universal_id)).one()
    assert value == 61.5
    assert start == dt.datetime(2025, 3, 9, 16, tzinfo=dt.UTC)
    assert tuple(issuer) == ("HOSP", "1.2.3")


def test_without_a_default_issuer_nothing_joins(here):
    here.take(message("ADT^A04", pid().replace("^^^HOSP^MR", ""), control="1"))
    assert states(here) == ["NO_ID"]
    assert tables(here.place.ledger)["person"] == []


def test_workplace_is_what_the_settings_say(ledger):
    with ward(ledger) as w:
        rules = workplace(ledger, w.place.inbox, parse({"site": {"timezone": "Asia/Tokyo"}}, origin="t")).rules
    assert str(rules.zone) == "Asia/Tokyo"
    assert not rules.default_issuer.stated
