"""A desk whose reports are told to HL7 receivers: real ledger, pipeline and sender."""

from __future__ import annotations

from pathlib import Path

from support.node_parts import settings
from support.reporting import Desk

from node.errors import Retry
from node.results_out import ResultSender
from node.store import jobs, result_messages
from node.store.engine import Ledger


def tables(*ports: int, timeout: float = 2.0, **more: object) -> dict[str, object]:
    receivers = [{"name": f"ris{n}", "host": "127.0.0.1", "port": port, **more} for n, port in enumerate(ports)]
    return {"results": {"receivers": receivers, "answer_timeout": timeout}}


class Office:
    """A desk whose reports are told to receivers."""

    def __init__(self, ledger: Ledger, folder: Path, *ports: int, **more: object) -> None:
        self.ledger = ledger
        self.desk = Desk(ledger, folder, tables=tables(*ports, **more))
        steps = self.desk.worker().pipeline
        configured = settings(**self.desk.tables)
        self.sender = ResultSender(
            ledger=ledger, settings=configured.results, spool=steps.spool, zone=configured.site.zone
        )

    def report(self) -> int:
        case_id = self.desk.receive()
        self.desk.work()
        return case_id

    def send(self, name: str = "ris0") -> bool:
        """Do one task of the receiver's lane, due or not, as the dispatcher does. Whether there was one."""
        with self.ledger.begin() as c:
            claimed = jobs.claim(c, f"hl7:{name}", 1, owner="test", lease=60)
        if not claimed:
            return False
        try:
            change = self.sender.send(claimed[0])
        except Retry as retry:
            with self.ledger.begin() as c:
                jobs.retry_later(c, claimed[0], after=0, reason=retry.reason)
            raise
        with self.ledger.begin() as c:
            assert jobs.finish(c, claimed[0])
            if change is not None:
                change(c)
        return True

    def messages(self, case_id: int):
        with self.ledger.read() as c:
            return result_messages.listed(c, case_id=case_id)

    def state(self, case_id: int) -> list[str]:
        return [f"{m.key.version}{m.key.meaning} {m.state}" for m in self.messages(case_id)]
