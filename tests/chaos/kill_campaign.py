"""kill -9 on listener and worker at random instants, while independent senders send until they are told Success.

    python -m chaos.kill_campaign --kills 200 --seed 1 --folder DIR

The schedule of kills, archive outages and objects follows from the seed; what the machine makes of it does not. The
last line is `RESULT chaos ...`; exit status 0 only if nothing was lost, doubled or left behind.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from chaos import bodies, films
from chaos.audit import ENDED, audit
from chaos.ledger_file import looking_into
from chaos.processes import Killable
from chaos.senders import Sender, dcmjs_sender, dcmtk_senders

from config.settings import Settings, parse
from node.case_decisions import retry_case
from node.demo.node_process import free_port
from node.errors import FailureCode
from node.store.outbox import DeliveryState

DRAIN_LIMIT = 240.0
SENDERS_LIMIT = 120.0


@dataclass(slots=True)
class Told:
    """What was sent and what the senders were told; shared by their threads."""

    sent: dict[str, films.Film] = field(default_factory=dict)
    success: set[str] = field(default_factory=set)
    by_sender: Counter[str] = field(default_factory=Counter)
    sends: int = 0
    problems: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Hospital:
    """The node's two processes, the archive, and their logs, below one folder."""

    def __init__(self, folder: Path) -> None:
        self.node, self.archive_folder = folder / "node", folder / "archive"
        self.port, archive_port = free_port(), free_port()
        self.logs = [folder / f"{name}.log" for name in ("listener", "worker", "archive")]
        self.settings = _settings(self.node, self.port, archive_port)
        self.listener = Killable(bodies.listener, self.settings, self.logs[0], port=self.port)
        self.worker = Killable(bodies.worker, self.settings, self.logs[1])
        self.archive = Killable(bodies.archive, self.archive_folder, archive_port, self.logs[2], port=archive_port)

    def start(self) -> None:
        self.listener.start()
        self.listener.await_up()
        self.worker.start()
        self.archive.start()
        self.archive.await_up()

    def stop(self) -> None:
        for one in (self.worker, self.listener, self.archive):
            one.stop()

    def open_cases(self) -> int:
        """Cases that have not ended yet, by the ledger."""
        with looking_into(self.node) as ledger:
            marks = ",".join("?" * len(ENDED))
            query = f"SELECT count(*) FROM screening_case WHERE state NOT IN ({marks})"
            return int(ledger.execute(query, ENDED).fetchone()[0])

    def buried(self) -> list[int]:
        """Cases whose work, or whose delivery, is in the dead letter."""
        with looking_into(self.node) as ledger:
            failed = "SELECT id FROM screening_case WHERE state = 'Failed' AND reason = ?"
            refused = "SELECT case_id FROM delivery WHERE state = ?"
            rows = ledger.execute(f"{failed} UNION {refused}", (FailureCode.WORKER_DIED, DeliveryState.REFUSED))
            return [int(row[0]) for row in rows]


def main() -> int:
    """Run the campaign; the exit status."""
    options = _options()
    print(f"chaos: seed {options.seed}, {options.kills} kills", flush=True)
    with tempfile.TemporaryDirectory(prefix="osteon-chaos-", ignore_cleanup_errors=True) as scratch:
        folder = Path(options.folder or scratch)
        return run(folder, kills=options.kills, seed=options.seed, npm=Path(options.npm) if options.npm else None)


def run(folder: Path, *, kills: int, seed: int, npm: Path | None) -> int:
    """One campaign in an empty folder; the exit status."""
    started = time.monotonic()
    (folder / "films").mkdir(parents=True, exist_ok=True)
    senders = _senders(npm or folder / "npm")
    if not senders:
        print("RESULT chaos missed: no sender is installed (Debian: dcmtk)")
        return 2
    hospital = Hospital(folder)
    hospital.start()
    told, no_more_new = Told(), threading.Event()
    threads = [
        threading.Thread(target=_send, args=(hospital.port, folder / "films", one, number, seed, told, no_more_new))
        for number, one in enumerate(senders)
    ]
    for thread in threads:
        thread.start()
    killed = _kill(hospital, random.Random(seed), kills)
    no_more_new.set()
    for thread in threads:
        thread.join(SENDERS_LIMIT)
    retried = _drain(hospital)
    hospital.stop()
    hospital.listener.start()  # once more: what the last kill left is swept at a start
    hospital.listener.await_up()
    hospital.listener.stop()
    # The archive is a peer: that it logs the connections our kills cut is no finding of ours.
    found = audit(hospital.node, hospital.archive_folder, hospital.logs[:2], told.sent, told.success)
    found.note("never_told_success", sorted(set(told.sent) - told.success))
    found.note("sender_problem", told.problems)
    _print(found.counted | {f"told_{name}": n for name, n in told.by_sender.items()} | {"sends": told.sends}, killed)
    seconds = time.monotonic() - started
    verdict = "" if not found.missed else " missed: " + ", ".join(found.missed)
    print(
        f"RESULT chaos kills={sum(killed.values())} lost={found.number('lost')} twice={found.number('twice')} "
        f"acknowledged={len(told.success)} reports={found.counted['reports']} failed={found.number('failed')} "
        f"dead_letter_retried={retried} "
        f"senders={'+'.join(one.name for one in senders)} seed={seed} seconds={seconds:.0f}{verdict}"
    )
    return 1 if found.missed else 0


def _settings(node: Path, port: int, archive_port: int) -> Settings:
    return parse(
        {
            "storage": {"data_dir": str(node)},
            "reception": {"port": port},
            "clinical": {"wait": 0, "mllp": {"enabled": False}},
            "delivery": {
                "backoff_first": 0.3,
                "backoff_cap": 1.0,
                "acse_timeout": 5.0,
                "dimse_timeout": 10.0,
                "destinations": [{"name": "pacs", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": archive_port}],
            },
        },
        origin="chaos",
    )


def _senders(npm: Path) -> list[Sender]:
    found = dcmtk_senders()
    client = dcmjs_sender(npm)
    if isinstance(client, str):
        print(f"chaos: without dcmjs-dimse: {client}", flush=True)
        return found
    return [*found, client]


def _kill(hospital: Hospital, rng: random.Random, kills: int) -> Counter[str]:
    """Kill until `kills` processes were killed; the archive is down for the middle third, and now and then besides."""
    killed: Counter[str] = Counter()
    while (done := sum(killed.values())) < kills:
        archive_down = kills / 3 <= done < kills / 2 or rng.random() < 0.05
        if archive_down and hospital.archive.pid is not None:
            hospital.archive.kill()
            print(f"chaos: archive down at kill {done}", flush=True)
        elif not archive_down and hospital.archive.pid is None:
            hospital.archive.start()
            print(f"chaos: archive up at kill {done}", flush=True)
        time.sleep(rng.uniform(0.1, 1.6))
        victims = rng.choices(("listener", "worker", "both"), (5, 3, 2))[0]
        for name in ("listener", "worker"):
            if victims in (name, "both"):
                getattr(hospital, name).kill()
                killed[name] += 1
        time.sleep(rng.uniform(0.0, 0.2))
        for name in ("listener", "worker"):
            if victims in (name, "both"):
                getattr(hospital, name).start()
        if rng.random() < 0.9:  # else it may be killed while it is still starting
            hospital.listener.await_up()
    if hospital.archive.pid is None:
        hospital.archive.start()
    hospital.listener.await_up()
    return killed


def _send(
    port: int, folder: Path, sender: Sender, number: int, seed: int, told: Told, no_more_new: threading.Event
) -> None:
    """Send new objects in small batches, each again until it was answered with Success, some once more after it."""
    rng = random.Random(f"{seed}/{number}")
    waiting: list[films.Film] = []
    made = 0
    while waiting or not no_more_new.is_set():
        while len(waiting) < 3 and not no_more_new.is_set():
            film = films.write(folder, films.uid_of(seed, number, made), screened=made % 6 == 0)
            made += 1
            waiting.append(film)
            with told.lock:
                told.sent[film.uid] = film
        batch = rng.sample(waiting, min(len(waiting), rng.randint(1, 3)))
        if told.success and rng.random() < 0.15:
            with told.lock:
                again = told.sent[rng.choice(sorted(told.success))]
            batch.append(again)
        try:
            success = sender.send(port, batch)
        except Exception as error:  # noqa: BLE001 - outermost: the campaign ends with what went wrong, not without it
            with told.lock:
                told.problems.append(f"{sender.name}: {error}")
            return
        with told.lock:
            told.success |= success
            told.by_sender[sender.name] += len(success)
            told.sends += len(batch)
        waiting = [film for film in waiting if film.uid not in success]
        time.sleep(rng.uniform(0.05, 0.3))


def _drain(hospital: Hospital) -> int:
    """Wait until every case has ended, or the limit: what is left then is the audit's to say.

    Work in hand when its process was killed four times in a row is in the dead letter, as it should be (P7). The
    campaign takes it up again as a person would, and counts how often.
    """
    deadline = time.monotonic() + DRAIN_LIMIT
    retried = 0
    while ((left := hospital.open_cases()) or hospital.buried()) and time.monotonic() < deadline:
        for case_id in hospital.buried():
            retry_case(hospital.settings, case_id)
            retried += 1
        time.sleep(0.5)
    print(f"chaos: drained, {left} cases open, {retried} taken up by the operator", flush=True)
    return retried


def _print(counted: dict[str, int], killed: Counter[str]) -> None:
    for name, number in [*((f"killed_{name}", n) for name, n in killed.items()), *counted.items()]:
        print(f"chaos: {name:24s} {number}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos.kill_campaign")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", help="where to leave everything; a temporary one by default")
    parser.add_argument("--npm", help="scratch folder for the npm client; inside the campaign's folder by default")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
