"""Malformed input against a running listener: nothing may crash, hang, leak or grow; a good image still goes through.

    python -m chaos.malformed --count 20000 --seed 1

Every fourth attack and every second good image comes by TLS. `--only N` sends attack N alone, to look at it. Beside the
attacks a good sender stores an image every second. Then what was stored is read as the worker reads it. The last line
is `RESULT malformed ...`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import ssl
import statistics
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chaos import films, vitals, wire
from chaos.attacks import Attack, End, attack
from chaos.ledger_file import looking_into
from chaos.read_path import read_all
from support import certificates
from support.dicom_objects import dataset_of

from node.demo.node_process import NodeProcess, free_port

PATIENCE = 1.5
"""The listener's ACSE, DIMSE and idle time-outs here, seconds."""
BOUND = 12.0
"""Seconds after which a connection that still stands is a hang: the time-outs, and a loaded machine."""
SOON = 0.4
GROWTH_PERCENT = 5.0
"""Of the listener's memory after warm-up, in the long form."""
SHORT_GROWTH_PERCENT = 15.0
"""In a form too short to tell warm-up from growth: catches only what grows with every attack."""
LONG_FORM = 5_000
SENDERS = 30
"""Most attackers wait for a time-out at any time; all of them fit below the limit of associations."""
CANARY_STREAM = 41
GOOD_STREAM = 42
CONFIGURATION = """
[storage]
data_dir = {data_dir}
[reception]
port = {port}
maximum_associations = 64
maximum_associations_per_peer = 64
acse_timeout = {patience}
dimse_timeout = {patience}
idle_timeout = {patience}
[reception.tls]
enabled = true
port = {tls_port}
certificate = {certificate}
key = {key}
[clinical.mllp]
enabled = false
"""


@dataclass(frozen=True, slots=True)
class Door:
    """A port of the listener, and how to come in."""

    port: int
    tls: ssl.SSLContext | None = None


Doors = tuple[Door, Door]
BY_TLS = 4
"""Every so many attacks one comes by TLS."""


@dataclass(slots=True)
class Tally:
    """What happened, shared by the threads."""

    ended: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    good_ms: list[float] = field(default_factory=list)
    longest: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


def main() -> int:
    """Run the campaign; the exit status."""
    warnings.simplefilter("ignore")  # pydicom warns of the wrong datasets that are made here on purpose
    options = _options()
    print(f"malformed: seed {options.seed}, {options.count} attacks", flush=True)
    with tempfile.TemporaryDirectory(prefix="osteon-malformed-", ignore_cleanup_errors=True) as scratch:
        folder = Path(options.folder or scratch)
        numbers = [options.only] if options.only is not None else list(range(options.count))
        return run(folder, numbers, seed=options.seed)


def run(folder: Path, numbers: list[int], *, seed: int) -> int:
    """Send these attacks; the exit status."""
    started = time.monotonic()
    doors, configuration = _doors(folder)
    tally = Tally()
    with NodeProcess(folder, configuration, ports=tuple(door.port for door in doors), command="listen") as node:
        assert node.process is not None
        pid = node.process.pid
        _good(tally, doors, seed, 0)  # what is loaded at first use is loaded
        base = vitals.settled(pid, vitals.Vitals(rss_mib=0, threads=0, descriptors=0), 3.0)
        _attack_all(tally, doors, pid, seed, numbers)
        after = vitals.settled(pid, base, 20.0)
        _good(tally, doors, seed, 1)
        if node.process.poll() is not None:
            tally.wrong.append(f"the listener died ({node.process.returncode})")
        if node.stop() != 0:
            tally.wrong.append("the listener did not end cleanly")
    if vitals.leaked(base, after):
        tally.wrong.append(
            f"leaked: {base.threads} -> {after.threads} threads, {base.descriptors} -> {after.descriptors}"
        )
    # After warm-up: the heaps fill within some hundred attacks (122 to 143 MiB) and then stay (144 after 4,000).
    growth = vitals.growth_percent(tally.rss[len(tally.rss) // 2 :]) if len(tally.rss) > 20 else 0.0
    if growth > (GROWTH_PERCENT if len(numbers) >= LONG_FORM else SHORT_GROWTH_PERCENT):
        tally.wrong.append(f"memory grew by {growth:.1f} %")
    _stored(tally, folder / "node", seed)
    readings = read_all(sorted((folder / "node" / "spool").rglob("*.dcm")))
    tally.wrong += [f"read path: {one}" for one in readings.wrong]
    log = (folder / "osteon.log").read_text(errors="replace")
    _print(tally, base, after, readings.outcomes, log)
    seconds = time.monotonic() - started
    verdict = "" if not tally.wrong else f" missed: {len(tally.wrong)} findings"
    print(
        f"RESULT malformed attacks={len(numbers)} hangs={tally.ended['hang']} threads={base.threads}->{after.threads} "
        f"descriptors={base.descriptors}->{after.descriptors} rss_growth_percent={growth:.1f} "
        f"rss_mib={base.rss_mib:.0f}->{after.rss_mib:.0f} longest_s={tally.longest:.1f} "
        f"good_p50_ms={statistics.median(tally.good_ms):.0f} read={sum(readings.outcomes.values())} "
        f"unforeseen={len(readings.wrong)} seed={seed} seconds={seconds:.0f}{verdict}"
    )
    return 1 if tally.wrong else 0


def _doors(folder: Path) -> tuple[Doors, str]:
    """The plain port and the TLS port, and the node's configuration."""
    authority = certificates.authority(folder / "tls")
    node = certificates.signed(folder / "tls", authority)
    doors = Door(free_port()), Door(free_port(), certificates.trusting(authority))
    return doors, CONFIGURATION.format(
        data_dir=json.dumps(str(folder / "node")),
        port=doors[0].port,
        tls_port=doors[1].port,
        certificate=json.dumps(str(node.certificate)),
        key=json.dumps(str(node.key)),
        patience=PATIENCE,
    )


def _attack_all(tally: Tally, doors: Doors, pid: int, seed: int, numbers: list[int]) -> None:
    todo = iter(numbers)
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(tally, doors, pid, seed, done))
    watch.start()
    threads = [threading.Thread(target=_attack_some, args=(tally, doors, seed, todo)) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    watch.join()


def _watch(tally: Tally, doors: Doors, pid: int, seed: int, done: threading.Event) -> None:
    """Twice a second: what the listener holds; and a good image beside the bad ones."""
    number = 0
    while not done.wait(0.5):
        with contextlib.suppress(Exception):  # it has died: the campaign will say so
            tally.rss.append(vitals.look(pid).rss_mib)
        number += 1
        if number % 2:
            _good(tally, doors, seed, 10 + number // 2)


def _good(tally: Tally, doors: Doors, seed: int, number: int) -> None:
    """Store a good image; anything but Success is a finding."""
    uid = films.uid_of(seed, GOOD_STREAM, number)
    dataset = dataset_of(films.part10(uid, screened=True))
    begun = time.monotonic()
    door = doors[number % len(doors)]
    status = wire.store(door.port, uid, dataset, transfer=wire.IMPLICIT, tls=door.tls)
    with tally.lock:
        tally.good_ms.append(1000 * (time.monotonic() - begun))
        if status != 0:
            tally.wrong.append(f"good image {number} was answered {status}")


def _attack_some(tally: Tally, doors: Doors, seed: int, todo: Iterator[int]) -> None:
    while True:
        with tally.lock:
            number = next(todo, None)
        if number is None:
            return
        one = attack(seed, number)
        begun = time.monotonic()
        ended, statuses = _send(doors[number % BY_TLS == BY_TLS - 1], one)
        seconds = time.monotonic() - begun
        with tally.lock:
            tally.ended[ended] += 1
            tally.statuses.update(statuses)
            tally.longest = max(tally.longest, seconds)
            if ended in ("hang", "no connection"):
                tally.wrong.append(f"attack {number} ({one.kind}, {one.end.value}): {ended} after {seconds:.1f} s")


def _send(door: Door, one: Attack) -> tuple[str, list[str]]:
    """How the connection ended, and the statuses that came back."""
    statuses: list[str] = []
    try:
        connection = wire.Wire(door.port, limit=BOUND, tls=door.tls)
    except OSError:
        return "no connection", statuses
    with connection:
        try:
            return _play(connection, one, statuses), statuses
        except TimeoutError:
            return "hang", statuses
        except OSError:
            return "reset", statuses


def _play(connection: wire.Wire, one: Attack, statuses: list[str]) -> str:
    connection.send(one.opening)
    last: wire.Answer | None = None
    if one.body is not None:
        last = connection.read()
        if last is None or last.kind != wire.ASSOCIATE_AC:
            return _name(last)
        with contextlib.suppress(ConnectionError):  # it may have hung up in the middle; its last words are still read
            connection.send(one.body)
    if one.end is End.RESET:
        connection.reset()
        return "reset by us"
    last = _leave(connection, one.end) or last
    if last is not None and last.status is not None:
        statuses.append(f"{last.status:04X}")
    for answer in connection.rest():
        if answer.status is not None:
            statuses.append(f"{answer.status:04X}")
        last = answer
        if answer.kind == wire.RELEASE_RP:
            connection.half_close()  # the requestor closes (PS3.8 9.2, AR-3)
    return _name(last)


def _leave(connection: wire.Wire, how: End) -> wire.Answer | None:
    """Say goodbye in this way; what was answered at once, if anything."""
    if how is End.HALF_CLOSE:
        connection.half_close()
    if how is not End.RELEASE:
        return None
    connection.send(wire.release_rq())
    return _first_word(connection)


def _first_word(connection: wire.Wire) -> wire.Answer | None:
    """What comes soon after a release request; a listener that still waits for the rest of a PDU is told there is none.

    Only so that most attacks do not cost its time-out: those that linger show that it has one.
    """
    connection.socket.settimeout(SOON)
    try:
        return connection.read()
    except TimeoutError:
        connection.half_close()
        return None
    finally:
        connection.socket.settimeout(BOUND)


def _name(answer: wire.Answer | None) -> str:
    if answer is None:
        return "closed"
    names = ("unknown", "request", "accepted", "rejected", "data", "release asked", "released", "aborted")
    return names[answer.kind] if answer.kind < len(names) else names[0]


def _stored(tally: Tally, node: Path, seed: int) -> None:
    """Good images byte for byte, nothing half, nothing outside, the ledger sound."""
    for path in node.parent.rglob("*.part"):
        tally.wrong.append(f"{path.name} remained")
    with looking_into(node) as ledger:
        if ledger.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
            tally.wrong.append("the ledger is damaged")
        rows = dict(ledger.execute("SELECT spool_file, sop_instance_uid FROM screening_case").fetchall())
    spool = node / "spool"
    for file, uid in rows.items():
        path = spool / file
        if not path.is_file() or path.resolve().parent.parent != spool.resolve():
            tally.wrong.append(f"{file}: a case without its file in the spool")
        elif f".{GOOD_STREAM + 10}." in uid:
            sent = dataset_of(films.part10(uid, screened=True))
            if dataset_of(path.read_bytes()) != sent:
                tally.wrong.append(f"good image {uid} is stored with other bytes")
    tally.ended["(cases)"] = len(rows)


def _print(tally: Tally, base: vitals.Vitals, after: vitals.Vitals, readings: Counter[str], log: str) -> None:
    print(f"malformed: before {base}\nmalformed: after  {after}")
    for title, counter in (("ended", tally.ended), ("status", tally.statuses), ("read path", readings)):
        for name, number in counter.most_common():
            print(f"malformed: {title:10s} {name:18s} {number}")
    print(f"malformed: log lines {log.count(chr(10))}, tracebacks {log.count('Traceback (most recent call last)')}")
    for finding in tally.wrong[:40]:
        print(f"malformed: FINDING {finding}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos.malformed")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="this attack alone")
    parser.add_argument("--folder", help="where to leave everything; a temporary one by default")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
