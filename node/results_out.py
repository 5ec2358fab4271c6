"""Reported -> told: each version of a report as one HL7 message to each receiver, again until it is acknowledged.

The message (`node.result_message`) is fixed before the first send; whatever is sent again is byte for byte the same,
with the same MSH-10. AA and CA are success and nothing else is. AR and CR put the message before a person at
once; AE and CE after some tries, since some receivers answer so while they restart. Silence, a lost connection and
answers to other messages are tried again for as long as it takes. The newest version wins: what was not sent of an
older one is cancelled. A result that is taken back is followed to every receiver that has or may have it, and no
message overtakes an earlier one of its case. A refusal says nothing of an earlier send that was not answered: some
receivers refuse as a duplicate what they have stored.
"""

from __future__ import annotations

import functools
import ssl
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import structlog

from config.hl7_out import Hl7Receiver, ResultsOut
from dicom_io.spool import Spool
from node.backoff import pause
from node.errors import GiveUp, Retry
from node.feeds import mllp_client
from node.feeds.hl7_meaning import Meaning
from node.feeds.mllp_client import Address, Answer, NoAnswer
from node.store import alerts, jobs, result_messages
from node.store.alerts import AlertKind
from node.store.engine import Connection, Ledger
from node.store.jobs import Task
from node.store.result_messages import FrozenMessage, MessageKey, ResultState
from node.tasks import SEND_RESULT, result_lane

ERRORS_BEFORE_A_PERSON = 3
"""How often a receiver may answer AE or CE to one message."""

TRIES_BEFORE_ALERT = 10
"""Vain tries of one message before its receiver is called down: some ten minutes by the default pauses."""

DUPLICATE = "205"
"""Duplicate key identifier (table 0357): what some receivers answer to a repetition."""

UNDER_WAY_SECONDS = 1.0
"""How long a message waits before it asks again whether the one before it has ended."""

log = structlog.get_logger()


def open_results(c: Connection, case_id: int, version: int, receivers: tuple[str, ...]) -> None:
    """Have a frozen version told to these receivers; in the transaction that freezes it. Older ones are cancelled."""
    _open(c, case_id, version, receivers, Meaning.RESULT)


def take_back(c: Connection, case_id: int, version: int, *, wrong_patient: bool) -> tuple[str, ...]:
    """Have the result of a case taken back wherever it is or may be known; these receivers. `version`: the newest."""
    receivers = result_messages.reached(c, case_id)
    _open(c, case_id, version, receivers, Meaning.WRONG_PATIENT if wrong_patient else Meaning.DELETED)
    return receivers


def resume(c: Connection, case_id: int, known: Collection[str]) -> tuple[str, ...]:
    """Take the refused messages of a case up again, now; their receivers. `known`: those in the settings."""
    again = result_messages.wait_again(c, case_id, known)
    for key in again:
        jobs.touch(c, SEND_RESULT, _task_key(key), lane=result_lane(key.receiver))
    settle_refusals(c, case_id)
    return tuple(key.receiver for key in again)


def hurry(c: Connection, case_id: int, known: Collection[str]) -> tuple[str, ...]:
    """Have the messages of a case that wait sent now; says so, or that a receiver is in the settings no more."""
    said = []
    for message in result_messages.listed(c, case_id=case_id):
        name = message.key.receiver
        if message.state in result_messages.UNRESOLVED and name not in known:
            remedy = f"put it back, or `osteon results drop {name} --reason WHY --by WHO`"
            said.append(f"{name} is not in the settings; {remedy}")
        elif message.state is ResultState.WAITING:
            jobs.touch(c, SEND_RESULT, _task_key(message.key), lane=result_lane(name))
            said.append(f"{name} is tried again now")
    return tuple(said)


def watch_removed_receivers(c: Connection, known: Collection[str]) -> None:
    """Alert to messages whose receiver is no longer in the settings; settled when it is there again."""
    keys = result_messages.unresolved(c)
    back = Counter(key.receiver for key in keys if key.meaning != Meaning.RESULT)
    for name, count in Counter(key.receiver for key in keys).items():
        if name not in known:
            detail = f"{count} messages wait, {back[name]} of them take a result back"
            alerts.raise_alert(c, AlertKind.RECEIVER_REMOVED, subject(name), detail)
    for name in known:
        alerts.settle(c, AlertKind.RECEIVER_REMOVED, subject(name))


def settle_refusals(c: Connection, case_id: int) -> None:
    """Settle the alerts about messages of a case that are no longer refused."""
    found = result_messages.listed(c, case_id=case_id)
    refused = {_alert_about(m.key) for m in found if m.state is ResultState.REFUSED}
    for kind, about in {_alert_about(m.key) for m in found} - refused:
        alerts.settle(c, kind, about)


def subject(name: str) -> str:
    """Of an alert about a receiver."""
    return f"receiver {name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultSender:
    """Handles `SEND_RESULT` tasks."""

    ledger: Ledger
    settings: ResultsOut
    spool: Spool
    zone: ZoneInfo
    """Of DICOM times without an offset."""

    def send(self, task: Task) -> Callable[[Connection], None] | None:
        """Send one message; what the receiver said is recorded in the completion transaction.

        Raises:
            Retry: it was not acknowledged, or refused and will be asked again, or must wait for the one before it.
            GiveUp: the frozen report cannot be read back.
            LostLease: another process took the message over.

        """
        key = _parse(task.key)
        receiver = next(r for r in self.settings.receivers if r.name == key.receiver)  # only those have a lane
        message = self._begin(task, key, receiver)
        if message is None:
            return None
        try:
            answer = mllp_client.exchange(message.message, message.control_id, self._address(receiver))
        except NoAnswer as error:
            raise self._later(task, key, str(error), uncertain=error.sent or message.uncertain) from error
        if answer.accepted:
            log.info("result.told", case=key.case_id, receiver=key.receiver, meaning=key.meaning, answer=answer.code)
            return functools.partial(_sent, key, answer)
        return self._answered_no(task, key, answer, uncertain=message.uncertain)

    def bury(self, c: Connection, task: Task, why: GiveUp) -> None:
        """Put the message of a dead task before a person."""
        _put_before_a_person(c, _parse(task.key), str(why))

    def _address(self, receiver: Hl7Receiver) -> Address:
        return Address(
            host=receiver.host,
            port=receiver.port,
            connect_timeout=self.settings.connect_timeout,
            answer_timeout=self.settings.answer_timeout,
            context=_tls(receiver) if receiver.tls else None,
        )

    def _begin(self, task: Task, key: MessageKey, receiver: Hl7Receiver) -> FrozenMessage | None:
        """The bytes to send, fixed; None when the message is not to be sent any more."""
        with self.ledger.read() as c:
            built = result_messages.frozen(c, key)
        built = built or self._build(key, receiver)
        with self.ledger.begin() as c:
            jobs.checkpoint(c, task)
            message = result_messages.begin_send(c, key, built)
            if message is not None and _others_under_way(c, key):
                raise Retry(UNDER_WAY_SECONDS, "another message of the case is under way")  # and nothing is begun
            return message

    def _build(self, key: MessageKey, receiver: Hl7Receiver) -> FrozenMessage:
        # Here, for it holds 16 MB of code dictionaries, which a listener that tells nobody needs not.
        from node.result_message import Builder  # noqa: PLC0415

        return Builder(self.ledger, self.settings, self.spool, self.zone).build(key, receiver)

    def _later(self, task: Task, key: MessageKey, error: str, *, uncertain: bool, answer: str = "") -> Retry:
        """Record a try without success; when to try again."""
        with self.ledger.begin() as c:
            jobs.checkpoint(c, task)
            before = result_messages.find(c, key)
            result_messages.mark_tried(c, key, error=error, answer=answer, uncertain=uncertain)
            tries = 1 if before is None else before.tries + 1
            if answer:
                alerts.settle(c, AlertKind.RECEIVER_DOWN, subject(key.receiver))
            elif tries >= TRIES_BEFORE_ALERT:
                alerts.raise_alert(c, AlertKind.RECEIVER_DOWN, subject(key.receiver), error)
        log.warning("result.waiting", case=key.case_id, receiver=key.receiver, tries=tries, error=error)
        return Retry(pause(tries, self.settings), f"{key.receiver}: {error}")

    def _answered_no(
        self, task: Task, key: MessageKey, answer: Answer, *, uncertain: bool
    ) -> Callable[[Connection], None]:
        """Raise Retry while an AE may yet become an AA; else put it before a person.

        `uncertain`: an earlier send of it was not answered. What is said of this one does not take that back.
        """
        error = f"answered {answer.code}" + (f" {answer.error}" if answer.error else "")
        if uncertain and answer.error == DUPLICATE:
            error += ", it probably has the message from an earlier send"
        with self.ledger.read() as c:
            before = result_messages.find(c, key)
        if answer.code in ("AE", "CE") and (before is None or before.refusals + 1 < ERRORS_BEFORE_A_PERSON):
            raise self._later(task, key, error, uncertain=uncertain, answer=answer.code)
        return functools.partial(_refused, key, error, answer=answer.code, uncertain=uncertain)


def _open(c: Connection, case_id: int, version: int, receivers: tuple[str, ...], meaning: Meaning) -> None:
    for key in result_messages.open_messages(c, case_id, version, receivers, meaning):
        jobs.enqueue(c, SEND_RESULT, _task_key(key), lane=result_lane(key.receiver))
    if version > 1 or meaning is not Meaning.RESULT:  # of a first report nothing was refused that is cancelled now
        settle_refusals(c, case_id)


def _others_under_way(c: Connection, key: MessageKey) -> bool:
    """Whether an earlier message of the case is being sent to this receiver; by another host, as a lane sends one only.

    It may have been cancelled meanwhile and arrive all the same: a result after the message that takes it back would
    stand there for good. A host that ended in the middle holds nothing up beyond its lease.
    """
    begun = (m.key for m in result_messages.listed(c, case_id=key.case_id) if m.uncertain and m.key != key)
    return any(jobs.being_done(c, SEND_RESULT, _task_key(k)) for k in begun if k.receiver == key.receiver)


def _sent(key: MessageKey, answer: Answer, c: Connection) -> None:
    result_messages.mark_sent(c, key, answer=answer.code)
    alerts.settle(c, AlertKind.RECEIVER_DOWN, subject(key.receiver))


def _refused(key: MessageKey, error: str, c: Connection, *, answer: str, uncertain: bool) -> None:
    result_messages.mark_tried(c, key, error=error, answer=answer, uncertain=uncertain)
    alerts.settle(c, AlertKind.RECEIVER_DOWN, subject(key.receiver))
    _put_before_a_person(c, key, error)


def _put_before_a_person(c: Connection, key: MessageKey, error: str) -> None:
    """Refuse a message, unless it was cancelled meanwhile and nobody need care."""
    result_messages.mark_refused(c, key, error=error)
    found = result_messages.find(c, key)
    if found is not None and found.state is ResultState.REFUSED:
        kind, about = _alert_about(key)
        alerts.raise_alert(c, kind, about, f"{key.receiver}: {error}")
        log.error("result.refused", case=key.case_id, receiver=key.receiver, meaning=key.meaning, error=error)


def _alert_about(key: MessageKey) -> tuple[AlertKind, str]:
    """Kind and subject of the alert when this message is refused."""
    if key.meaning == Meaning.RESULT:
        return AlertKind.RESULT_REFUSED, f"case {key.case_id}"
    return AlertKind.RETRACTION_REFUSED, f"case {key.case_id} at {key.receiver}"


def _task_key(key: MessageKey) -> str:
    return f"{key.case_id}|{key.version}|{key.receiver}|{key.meaning}"


def _parse(text: str) -> MessageKey:
    case_id, version, receiver, meaning = text.split("|")
    return MessageKey(case_id=int(case_id), version=int(version), receiver=receiver, meaning=meaning)


@functools.lru_cache(maxsize=16)
def _tls(receiver: Hl7Receiver) -> ssl.SSLContext:
    """The client's side of TLS: the receiver must show a certificate for its host by an authority we trust."""
    context = ssl.create_default_context(cafile=receiver.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if receiver.certificate is not None:
        context.load_cert_chain(receiver.certificate, receiver.key)
    return context
