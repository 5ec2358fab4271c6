"""Storage commitment: asked by a real SCU, told on the same and on another association, and true to the disk."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread, uid
from pynetdicom import AE
from support.commitment import Sender, action_information
from support.dicom_objects import encode, radiograph_dataset
from support.hospital import await_true
from support.node_parts import receive

from config.settings import parse
from dicom_io.commitment import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    CommitmentFailure,
    CommitmentItem,
    CommitmentRequest,
    requested_items,
)
from dicom_io.errors import HeaderInvalid, TransactionInUse
from dicom_io.spool import Spool
from node.audit import AuditTrail
from node.commitment import Committer, record_request
from node.errors import Retry
from node.listener import Listener
from node.store import cases, commitments, jobs
from node.store.commitments import CommitmentState
from node.store.engine import Ledger, open_ledger
from node.tasks import COMMITMENT_LANE, REPORT_COMMITMENT

DX = str(uid.DigitalXRayImageStorageForPresentation)
TRANSACTION = "1.2.826.0.1.3680043.8.498.9"
WAIT = 30.0


@contextmanager
def node(
    folder: Path, *, commitment_port: int | None = None, commitment: bool = True, fast_path: str = "auto"
) -> Iterator[Listener]:
    peer = {"ae_title": "SENDER"} | ({"commitment_port": commitment_port} if commitment_port else {})
    tables = {
        "storage": {"data_dir": folder / "node"},
        "reception": {"port": 0, "commitment": commitment, "peers": [peer], "fast_path": fast_path},
        "clinical": {"mllp": {"enabled": False}},
        "delivery": {"backoff_first": 0.3, "backoff_cap": 0.5},
    }
    running = Listener(parse(tables, origin="test"))
    running.start()
    try:
        yield running
    finally:
        running.stop()


def known(folder: Path, transaction: str = TRANSACTION) -> commitments.Commitment:
    ledger = open_ledger(folder / "node" / "ledger.db")
    with ledger.read() as c:
        found = commitments.find(c, transaction)
    ledger.close()
    assert found is not None
    return found


def item(dataset: object) -> tuple[str, str]:
    return str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)


def test_a_requestor_that_stays_is_told_on_its_own_association(tmp_path: Path) -> None:
    films = [radiograph_dataset(number=n) for n in (1, 2)]
    with node(tmp_path) as running:
        sender = Sender(running.dicom_port)
        sender.store(*films)
        with sender.associated() as association:
            assert sender.ask(association, TRANSACTION, [item(f) for f in films]) == 0x0000
            event_type, information = sender.events.get(timeout=WAIT)
            assert sender.ask(association, TRANSACTION + ".2", [item(films[0])]) == 0x0000
            assert sender.events.get(timeout=WAIT)[1].TransactionUID == TRANSACTION + ".2"
        await_true(lambda: known(tmp_path).state is CommitmentState.REPORTED, "it is recorded", limit=WAIT)
    assert event_type == 1
    assert information.TransactionUID == TRANSACTION
    assert [str(i.ReferencedSOPInstanceUID) for i in information.ReferencedSOPSequence] == [
        i for _, i in map(item, films)
    ]
    assert "FailedSOPSequence" not in information


@pytest.mark.parametrize("fast_path", ["auto", "off"])
def test_a_requestor_that_goes_on_sending_before_it_answers_is_served(tmp_path: Path, fast_path: str) -> None:
    films = [radiograph_dataset(number=n) for n in (1, 2)]
    with node(tmp_path, fast_path=fast_path) as running:
        sender = Sender(running.dicom_port)
        sender.store(films[0])
        sender.may_answer.clear()
        with sender.associated() as association:
            assert sender.ask(association, TRANSACTION, [item(films[0])]) == 0x0000
            assert sender.events.get(timeout=WAIT)[0] == 1
            assert association.send_c_store(dcmread(BytesIO(encode(films[1])))).Status == 0x0000
            sender.may_answer.set()
            await_true(lambda: known(tmp_path).state is CommitmentState.REPORTED, "it is recorded", limit=WAIT)
            assert association.send_c_store(dcmread(BytesIO(encode(films[1])))).Status == 0x0000


@pytest.mark.parametrize("fast_path", ["auto", "off"])
def test_a_requestor_that_releases_instead_of_answering_is_released(tmp_path: Path, fast_path: str) -> None:
    film = radiograph_dataset(number=1)
    with node(tmp_path, fast_path=fast_path) as running:
        sender = Sender(running.dicom_port)
        sender.may_answer.clear()
        with sender.associated() as association:
            assert sender.ask(association, TRANSACTION, [item(film)]) == 0x0000
            assert sender.events.get(timeout=WAIT)[0] == 2
            association.release()
            assert association.is_released
        await_true(lambda: known(tmp_path).tries >= 1, "it is told later", limit=WAIT)
        sender.may_answer.set()
        with sender.associated() as association:
            assert sender.ask(association, TRANSACTION, [item(film)]) == 0x0000
            assert sender.events.get(timeout=WAIT)[0] == 2


def test_a_requestor_that_releases_is_told_on_a_new_association(tmp_path: Path) -> None:
    film = radiograph_dataset(number=1)
    listening = Sender(0)
    with listening.listening() as port, node(tmp_path, commitment_port=port) as running:
        sender = Sender(running.dicom_port)
        sender.store(film)
        for _ in range(2):  # a repeated request is the same request, answered again
            with sender.associated() as association:
                assert sender.ask(association, TRANSACTION, [item(film)]) == 0x0000
            assert listening.events.get(timeout=WAIT)[0] == 1
        assert sender.events.empty()
    assert known(tmp_path).items == (item(film),)


def test_only_what_is_on_disk_with_its_digest_is_committed(tmp_path: Path) -> None:
    films = {name: radiograph_dataset(number=n) for n, name in enumerate(("safe", "gone", "changed", "class"), start=1)}
    with node(tmp_path) as running:
        sender = Sender(running.dicom_port)
        sender.store(*films.values())
        for path in (tmp_path / "node" / "spool").rglob("*.dcm"):
            if str(films["gone"].SOPInstanceUID) + "-" in path.name:
                path.unlink()
            if str(films["changed"].SOPInstanceUID) + "-" in path.name:
                path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
        asked = [item(films["safe"]), item(films["gone"]), item(films["changed"])]
        asked += [(str(uid.ComputedRadiographyImageStorage), item(films["class"])[1]), (DX, "1.2.3.4.5.6")]
        with sender.associated() as association:
            assert sender.ask(association, TRANSACTION, asked) == 0x0000
            event_type, information = sender.events.get(timeout=WAIT)
        await_true(lambda: known(tmp_path).state is CommitmentState.REPORTED, "it is recorded", limit=WAIT)
    failed = {str(i.ReferencedSOPInstanceUID): i.FailureReason for i in information.FailedSOPSequence}
    assert event_type == 2
    assert failed == {
        item(films["gone"])[1]: 0x0112,
        item(films["changed"])[1]: 0x0110,
        item(films["class"])[1]: 0x0119,
        "1.2.3.4.5.6": 0x0112,
    }
    assert known(tmp_path).failures == failed
    assert [str(i.ReferencedSOPInstanceUID) for i in information.ReferencedSOPSequence] == [item(films["safe"])[1]]


def test_a_request_survives_a_restart_and_a_requestor_that_is_away(tmp_path: Path) -> None:
    film = radiograph_dataset(number=1)
    with node(tmp_path) as running:  # no commitment_port: nobody to tell once the association has ended
        sender = Sender(running.dicom_port)
        sender.store(film)
        with sender.associated() as association:
            assert sender.ask(association, TRANSACTION, [item(film)]) == 0x0000
        await_true(lambda: known(tmp_path).tries >= 2, "it is tried again", limit=WAIT)
        assert "commitment_port" in (known(tmp_path).error or "")
    listening = Sender(0)
    with listening.listening() as port, node(tmp_path, commitment_port=port):
        assert listening.events.get(timeout=WAIT)[0] == 1
        await_true(lambda: known(tmp_path).state is CommitmentState.REPORTED, "it is recorded", limit=WAIT)


def test_requests_that_cannot_be_taken(tmp_path: Path) -> None:
    film = radiograph_dataset(number=1)
    with node(tmp_path) as running:
        sender = Sender(running.dicom_port)
        with sender.associated() as association:
            information = action_information(TRANSACTION, [item(film)])
            other_instance = association.send_n_action(information, 1, PUSH_MODEL, "1.2.840.10008.1.20.1.2")
            other_action = association.send_n_action(information, 2, PUSH_MODEL, PUSH_MODEL_INSTANCE)
            assert (other_instance[0].Status, other_action[0].Status) == (0x0112, 0x0123)
            assert sender.ask(association, TRANSACTION, []) == 0x0115
            assert sender.ask(association, "", [item(film)]) == 0x0115
            assert sender.ask(association, TRANSACTION, [item(film)]) == 0x0000
            assert sender.ask(association, TRANSACTION, [(DX, "1.2.3")]) == 0x0115


def test_it_is_off_unless_switched_on(tmp_path: Path) -> None:
    with node(tmp_path, commitment=False) as running:
        ae = AE("SENDER")
        ae.add_requested_context(PUSH_MODEL)
        ae.add_requested_context("1.2.840.10008.1.1")
        association = ae.associate("127.0.0.1", running.dicom_port, ae_title="OSTEON")
        assert [c.abstract_syntax for c in association.rejected_contexts] == [PUSH_MODEL]
        association.release()


def request(*items: tuple[str, str], at: dt.datetime | None = None, ae_title: str = "SENDER") -> CommitmentRequest:
    return CommitmentRequest(
        transaction_uid=TRANSACTION,
        items=tuple(CommitmentItem(sop_class_uid=s, sop_instance_uid=i) for s, i in items),
        requestor_ae=ae_title,
        address="127.0.0.1",
        requested_at=at or dt.datetime.now(dt.UTC),
    )


def claimed(ledger: Ledger) -> jobs.Task:
    with ledger.begin() as c:
        jobs.poke(c, REPORT_COMMITMENT, TRANSACTION)
        (task,) = jobs.claim(c, COMMITMENT_LANE, 1, owner="test", lease=60)
    return task


def committer(ledger: Ledger, folder: Path) -> Committer:
    settings = parse({"reception": {"peers": [{"ae_title": "SENDER", "commitment_port": 1}]}}, origin="test")
    return Committer(
        ledger=ledger,
        spool=Spool(folder / "spool"),
        settings=settings,
        report_here=lambda _: False,
        audit=AuditTrail(folder / "audit"),
    )


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # pynetdicom leaves a refused socket open
def test_a_requestor_that_stays_away_is_given_up_after_three_days(ledger: Ledger, tmp_path: Path) -> None:
    record_request(ledger, request((DX, "1.2.3")))
    task = claimed(ledger)
    with pytest.raises(Retry) as waiting:
        committer(ledger, tmp_path).report(task)
    assert 8 <= waiting.value.after <= 12
    with ledger.begin() as c:
        jobs.retry_later(c, task, after=0, reason="")
    record_request(ledger, request((DX, "1.2.3"), at=dt.datetime.now(dt.UTC) - dt.timedelta(hours=73)))
    change = committer(ledger, tmp_path).report(claimed(ledger))
    assert change is not None
    with ledger.begin() as c:
        change(c)
        found = commitments.find(c, TRANSACTION)
    assert found is not None
    assert (found.state, found.tries) == (CommitmentState.GIVEN_UP, 0)
    record_request(ledger, request((DX, "1.2.3")))  # asked again: open again
    with ledger.read() as c:
        assert commitments.find(c, TRANSACTION).state is CommitmentState.WAITING
        assert jobs.get(c, REPORT_COMMITMENT, TRANSACTION).state in ("todo", "doing")


def test_a_transaction_uid_is_not_shared(ledger: Ledger) -> None:
    record_request(ledger, request((DX, "1.2.3"), (DX, "1.2.4")))
    record_request(ledger, request((DX, "1.2.4"), (DX, "1.2.3")))
    with pytest.raises(TransactionInUse):
        record_request(ledger, request((DX, "1.2.3")))
    with pytest.raises(TransactionInUse):
        record_request(ledger, request((DX, "1.2.3"), (DX, "1.2.4"), ae_title="OTHER"))


def test_every_copy_under_one_uid_must_be_safe(ledger: Ledger, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    film = radiograph_dataset(number=1)
    receive(ledger, spool, film)
    film.PatientID = "other bytes"
    receive(ledger, spool, film)
    record_request(ledger, request(item(film)))
    with ledger.read() as c:
        asked = commitments.find(c, TRANSACTION)
        files = sorted(cases.spool_files(c))
    assert len(files) == 2
    assert committer(ledger, tmp_path).examine(asked).failures == {}
    for file in files:
        content = spool.path(file).read_bytes()
        spool.remove(file)
        found = committer(ledger, tmp_path).examine(asked)
        assert found.failures == {item(film)[1]: CommitmentFailure.NO_SUCH_OBJECT}
        assert found.event_type == 2
        spool.path(file).write_bytes(content)


@pytest.mark.parametrize(
    ("transaction", "items"),
    [("", [(DX, "1.2")]), ("1.2", []), ("1.2", [(DX, "")]), ("../x", [(DX, "1.2")]), ("1.2", [(DX, "1" * 65)])],
)
def test_what_is_no_request(transaction: str, items: list[tuple[str, str]]) -> None:
    with pytest.raises(HeaderInvalid):
        requested_items(action_information(transaction, items))
