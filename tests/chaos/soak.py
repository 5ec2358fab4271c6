"""Hours of a hospital's network in minutes: good senders, probes, half-open sockets, aborts; memory and threads stay.

    python -m chaos.soak --seconds 600

The last line is `RESULT soak ...`; exit status 0 only if enough associations were served, resident memory after warm-up
grew by less than 5 %, and threads and descriptors came back to where they were.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from chaos import films, vitals, wire
from support.dicom_objects import dataset_of

from node.demo.node_process import NodeProcess, free_port

ASSOCIATIONS_PER_SECOND = 2_000 / 600
"""What the long form must reach: 2,000 in 10 minutes."""
GROWTH_PERCENT = 5.0
WARM_UP = 0.2
"""Part of the time that is not measured: caches fill, each of the allocator's arenas is used for the first time."""
PATIENCE = 3.0
SENDERS = 4
STREAM = 43
CONFIGURATION = """
[storage]
data_dir = {data_dir}
[reception]
port = {port}
acse_timeout = {patience}
dimse_timeout = {patience}
idle_timeout = {patience}
[clinical.mllp]
enabled = false
"""


@dataclass(slots=True)
class Soak:
    """One soak in progress; shared by its threads."""

    port: int
    seed: int
    until: float
    done: Counter[str] = field(default_factory=Counter)
    associations: int = 0
    held: list[wire.Wire] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    good_ms: list[float] = field(default_factory=list)
    number: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def film(self) -> tuple[str, bytes]:
        """A new object: UID and dataset."""
        with self.lock:
            self.number += 1
            uid = films.uid_of(self.seed, STREAM, self.number)
        return uid, dataset_of(films.part10(uid, screened=True))


def main() -> int:
    """Run the soak; the exit status."""
    options = _options()
    print(f"soak: seed {options.seed}, {options.seconds:g} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="osteon-soak-", ignore_cleanup_errors=True) as scratch:
        return run(Path(options.folder or scratch), seconds=options.seconds, seed=options.seed)


def run(folder: Path, *, seconds: float, seed: int) -> int:
    """One soak; the exit status."""
    port = free_port()
    configuration = CONFIGURATION.format(data_dir=json.dumps(str(folder / "node")), port=port, patience=PATIENCE)
    with NodeProcess(folder, configuration, ports=(port,), command="listen") as node:
        assert node.process is not None
        pid = node.process.pid
        soak = Soak(port=port, seed=seed, until=time.monotonic() + seconds)
        _store(soak, random.Random(seed))
        base = vitals.settled(pid, vitals.Vitals(rss_mib=0, threads=0, descriptors=0), 3.0)
        threads = [threading.Thread(target=_send, args=(soak, number)) for number in range(SENDERS)]
        for thread in threads:
            thread.start()
        samples = _watch(soak, pid)
        for thread in threads:
            thread.join()
        after = vitals.settled(pid, base, 30.0)
        _store(soak, random.Random(seed))
        if node.process.poll() is not None or node.stop() != 0:
            soak.wrong.append("the listener did not live to a clean end")
    return _verdict(soak, samples, base, after, seconds)


def _verdict(soak: Soak, samples: list[float], base: vitals.Vitals, after: vitals.Vitals, seconds: float) -> int:
    growth = vitals.growth_percent(samples[int(len(samples) * WARM_UP) :])
    wanted = int(ASSOCIATIONS_PER_SECOND * seconds)
    if soak.associations < wanted:
        soak.wrong.append(f"{soak.associations} associations, {wanted} wanted")
    if growth >= GROWTH_PERCENT:
        soak.wrong.append(f"memory grew by {growth:.1f} %")
    if vitals.leaked(base, after):
        soak.wrong.append("threads or descriptors leaked")
    for name, number in soak.done.most_common():
        print(f"soak: {name:28s} {number}")
    print(
        "soak: RSS in MiB, tenths of the time: " + " ".join(f"{s:.0f}" for s in samples[:: max(1, len(samples) // 10)])
    )
    verdict = " missed: " + "; ".join(soak.wrong[:5]) if soak.wrong else ""
    print(
        f"RESULT soak associations={soak.associations} connections={sum(soak.done.values())} "
        f"rss_growth_percent={growth:.1f} rss_mib={base.rss_mib:.0f}->{after.rss_mib:.0f} "
        f"threads={base.threads}->{after.threads} descriptors={base.descriptors}->{after.descriptors} "
        f"good_p50_ms={statistics.median(soak.good_ms):.0f} good_max_ms={max(soak.good_ms):.0f} seed={soak.seed} "
        f"seconds={seconds:.0f}{verdict}"
    )
    return 1 if soak.wrong else 0


def _watch(soak: Soak, pid: int) -> list[float]:
    samples = []
    while time.monotonic() < soak.until:
        time.sleep(0.25)
        samples.append(vitals.look(pid).rss_mib)
    return samples


def _send(soak: Soak, number: int) -> None:
    rng = random.Random(f"{soak.seed}/{number}")
    while time.monotonic() < soak.until:
        name, act = rng.choices(list(_ACTS.items()), _WEIGHTS)[0]
        try:
            act(soak, rng)
        except OSError as error:
            with soak.lock:
                soak.wrong.append(f"{name}: {error}")
            return
        with soak.lock:
            soak.done[name] += 1
        time.sleep(rng.uniform(0.0, 0.2))


def _associate(soak: Soak, *, called: bytes = b"OSTEON") -> tuple[wire.Wire, wire.Answer | None]:
    connection = wire.Wire(soak.port)
    connection.send(
        wire.associate_rq([(1, wire.DX, (wire.IMPLICIT,)), (3, wire.VERIFICATION, (wire.IMPLICIT,))], called=called)
    )
    with soak.lock:
        soak.associations += 1
    return connection, connection.read()


def _store(soak: Soak, rng: random.Random) -> None:
    """A modality: one to four images, released."""
    connection, accepted = _associate(soak)
    with connection:
        if accepted is None or accepted.kind != wire.ASSOCIATE_AC:
            soak.wrong.append(f"a good sender was not accepted: {accepted}")
            return
        for _ in range(rng.randint(1, 4)):
            uid, dataset = soak.film()
            begun = time.monotonic()
            connection.send(wire.store_message(1, uid, dataset, chunk=rng.choice((500, 16_000))))
            answer = connection.read()
            soak.good_ms.append(1000 * (time.monotonic() - begun))
            if answer is None or answer.status != 0:
                soak.wrong.append(f"a good image was answered {answer}")
        _release(connection)


def _echo(soak: Soak, _rng: random.Random) -> None:
    connection, _ = _associate(soak)
    with connection:
        connection.send(wire.p_data(3, wire.c_echo_rq(), is_command=True))
        answer = connection.read()
        if answer is None or answer.status != 0:
            soak.wrong.append(f"C-ECHO was answered {answer}")
        _release(connection)


def _rejected(soak: Soak, _rng: random.Random) -> None:
    connection, answer = _associate(soak, called=b"SOMEBODY")
    with connection:
        if answer is None or answer.kind != wire.ASSOCIATE_RJ:
            soak.wrong.append(f"a wrong called AE title was answered {answer}")


def _bare(soak: Soak, rng: random.Random) -> None:
    """A load balancer's probe or a port scanner."""
    with wire.Wire(soak.port) as connection:
        if rng.random() < 0.3:
            connection.send(rng.randbytes(rng.randint(1, 50)))
        if rng.random() < 0.3:
            connection.reset()


def _half_open(soak: Soak, rng: random.Random) -> None:
    """Says nothing more, and stays: at most three at once, so that a good sender always finds a place."""
    connection = wire.Wire(soak.port)
    if rng.random() < 0.5:
        connection.send(wire.associate_rq([(1, wire.DX, (wire.IMPLICIT,))])[: rng.choice((3, 40, 1000))])
    with soak.lock:
        soak.held.append(connection)
        old = soak.held.pop(0) if len(soak.held) > 3 else None
    if old is not None:
        old.socket.close()


def _idle(soak: Soak, _rng: random.Random) -> None:
    """An association that is left standing until the node ends it."""
    connection, _ = _associate(soak)
    with soak.lock:
        soak.held.append(connection)
        old = soak.held.pop(0) if len(soak.held) > 3 else None
    if old is not None:
        old.socket.close()


def _abort(soak: Soak, rng: random.Random) -> None:
    """In the middle of a dataset, by A-ABORT, by closing or by a reset."""
    connection, _ = _associate(soak)
    with connection:
        uid, dataset = soak.film()
        message = wire.store_message(1, uid, dataset, chunk=500)
        connection.send(message[: rng.randrange(len(message))])
        how = rng.randrange(3)
        if how == 0:
            with contextlib.suppress(ConnectionError):
                connection.send(wire.abort())
        elif how == 1:
            connection.reset()


def _release(connection: wire.Wire) -> None:
    connection.send(wire.release_rq())
    connection.read()


_ACTS: dict[str, Callable[[Soak, random.Random], None]] = {
    "images stored, released": _store,
    "echo": _echo,
    "wrong called AE title": _rejected,
    "bare connect": _bare,
    "half-open": _half_open,
    "idle association": _idle,
    "aborted in a dataset": _abort,
}
_WEIGHTS = (40, 15, 8, 15, 5, 5, 12)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos.soak")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", help="where to leave everything; a temporary one by default")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
