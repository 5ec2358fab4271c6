"""kill -9 between each pair of steps of the write order (reception-and-delivery.md 2.1), every point once.

    python -m chaos.step_kills [--every N]

For each point (or each N-th, the short form): send one object to a listener that dies there; start a sound one; nothing
half may remain; what was answered with Success must be a case; the re-send must be Success and give one case, one file,
the bytes sent.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from blake3 import blake3
from chaos import bodies, die_at, films
from chaos.ledger_file import looking_into
from chaos.processes import Killable
from chaos.wire import IMPLICIT, store
from support.dicom_objects import dataset_of

from config.settings import Settings, parse
from node.demo.node_process import free_port

MOST_POINTS = 200
SEED = 77


def main() -> int:
    """Every point; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m chaos.step_kills")
    parser.add_argument("--every", type=int, default=1, help="only each N-th point")
    every = parser.parse_args().every
    started = time.monotonic()
    points: list[str] = []
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="osteon-steps-", ignore_cleanup_errors=True) as scratch:
        for number in range(0, MOST_POINTS, every):
            name, wrong = die_once(Path(scratch) / str(number), number, number)
            missed += [f"point {number} ({name}): {one}" for one in wrong]
            if name == "":
                break
            points.append(name)
        # Other threads have points too, elsewhere in each run: every number may have fallen beside one of these.
        for name in sorted({"after os.fsync", "after os.replace", "after commit"} - set(points)) if every == 1 else ():
            died, wrong = die_once(Path(scratch) / name, name, MOST_POINTS + len(points))
            missed += [f"{name}: {one}" for one in wrong]
            if died == name:
                points.append(name)
            else:
                missed.append(f"never died {name}: the write order has changed, look at die_at.py")
    acknowledged = points.count("after answer")
    print("\n".join(f"steps: {number * every:3d} {name}" for number, name in enumerate(points)))
    seconds = time.monotonic() - started
    verdict = "" if not missed else " missed: " + "; ".join(missed)
    print(f"RESULT steps points={len(points)} answered={acknowledged} seconds={seconds:.0f}{verdict}")
    return 1 if missed else 0


def die_once(folder: Path, point: int | str, number: int) -> tuple[str, list[str]]:
    """Die at a point, by number or name, while the `number`-th object comes.

    The point's name (empty: it was not passed), and what was wrong after it.
    """
    folder.mkdir()
    port = free_port()
    settings = _settings(folder / "node", port)
    trail = folder / "trail"
    doomed = Killable(die_at.listener, settings, folder / "log", point, trail, port=port)
    doomed.start()
    doomed.await_up()
    trail.touch()
    uid = films.uid_of(SEED, 0, number)
    dataset = dataset_of(films.part10(uid, screened=True))
    told = store(port, uid, dataset, transfer=IMPLICIT)
    died = doomed.await_end(1.0 if told == 0 else 10.0) == -9
    name = trail.read_text().splitlines()[-1] if died else ""
    doomed.kill()
    if not died and told != 0:
        return "alive", [f"it neither died nor answered Success ({told})"]
    sound = Killable(bodies.listener, settings, folder / "log", port=port)
    sound.start()
    sound.await_up()
    wrong = _after_restart(folder / "node", uid, told)
    again = store(port, uid, dataset, transfer=IMPLICIT)
    if again != 0:
        wrong.append(f"the re-send was answered {again}")
    if sound.stop() != 0:
        wrong.append("the restarted listener did not end cleanly")
    return name, wrong + _at_the_end(folder / "node", uid, dataset)


def _settings(node: Path, port: int) -> Settings:
    tables: dict[str, object] = {
        "storage": {"data_dir": str(node)},
        "reception": {"port": port},
        "clinical": {"mllp": {"enabled": False}},
    }
    return parse(tables, origin="chaos")


def _after_restart(node: Path, uid: str, told: int | None) -> list[str]:
    wrong = [f"{path.name} remained" for path in (node / "spool").rglob("*.part")]
    if told == 0 and not _cases(node, uid):
        wrong.append("LOST: answered with Success, and no case")
    known = {file for file, _ in _cases(node, uid)}
    files = {path.relative_to(node / "spool").as_posix() for path in (node / "spool").rglob("*.dcm")}
    if files != known:
        wrong.append(f"the spool holds {sorted(files)}, the ledger knows {sorted(known)}")
    return wrong


def _at_the_end(node: Path, uid: str, dataset: bytes) -> list[str]:
    cases = _cases(node, uid)
    if len(cases) != 1:
        return [f"{len(cases)} cases"]
    file, digest = cases[0]
    content = (node / "spool" / file).read_bytes()
    wrong = []
    if f"blake3:{blake3(content).hexdigest()}" != digest:
        wrong.append("file and ledger differ")
    if dataset_of(content) != dataset:
        wrong.append("the stored bytes are not those that were sent")
    if len(list((node / "spool").rglob("*.*"))) != 1:
        wrong.append("more than one file")
    return wrong


def _cases(node: Path, uid: str) -> list[tuple[str, str]]:
    with looking_into(node) as ledger:
        query = "SELECT spool_file, digest FROM screening_case WHERE sop_instance_uid = ?"
        return [(str(row[0]), str(row[1])) for row in ledger.execute(query, (uid,))]


if __name__ == "__main__":
    sys.exit(main())
