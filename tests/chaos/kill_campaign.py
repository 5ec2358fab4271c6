"""kill -9 on the node's processes at random instants, and other misfortunes, while a hospital goes on working.

    python -m chaos.kill_campaign --kills 200 --seed 1 [--database postgresql] [--event NAME ...] [--folder DIR]

Independent senders send films until they are told Success, and clinical data until they are told AA; some of either
come late. The archive answers with warnings and refusals at random, and is down for the middle third. The events are
spread evenly over the kills. The schedule follows from the seed; what the machine makes of it does not. The last line
is `RESULT chaos ...`; exit status 0 only if nothing was lost, doubled, contradicted, unproved or left behind.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from chaos import clock, events
from chaos.audit import Findings, audit_ledger, audit_logs
from chaos.audit_reports import Expected, audit_reports
from chaos.hospital import Building, Hospital, hospital, postgresql, rabbitmq
from chaos.operator_desk import Operator
from chaos.senders import Sender, dcmjs_sender, dcmtk_senders
from chaos.traffic import Desk, Office, Told, threads_of

SENDERS_LIMIT = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to happen."""

    kills: int
    seed: int
    database: str
    hints: str
    events: tuple[str, ...]
    seconds: float
    """How long an event lasts, and the hospital works before and after the last one."""
    senders: tuple[Sender, ...]


def main() -> int:
    """Run the campaign; the exit status."""
    options = _options()
    print(f"chaos: seed {options.seed}, {options.kills} kills, {options.database}", flush=True)
    with tempfile.TemporaryDirectory(prefix="osteon-chaos-", ignore_cleanup_errors=True) as scratch:
        folder = Path(options.folder or scratch)
        (folder / "films").mkdir(parents=True, exist_ok=True)
        plan = Plan(
            kills=options.kills,
            seed=options.seed,
            database=options.database,
            hints=options.hints,
            events=tuple(options.event),
            seconds=options.seconds,
            senders=_senders(Path(options.npm) if options.npm else folder / "npm"),
        )
        if not plan.senders:
            print("RESULT chaos missed: no sender is installed (Debian: dcmtk)")
            return 2
        try:
            return run(folder, plan)
        except (pytest.skip.Exception, PermissionError) as absent:
            print(f"RESULT chaos database={plan.database} missed: {absent}")
            return 2


def run(folder: Path, plan: Plan) -> int:
    """One campaign in an empty folder; the exit status."""
    started = time.monotonic()
    told = Told()
    with postgresql(wanted=plan.database == "postgresql") as server, rabbitmq(wanted=plan.hints == "celery") as broker:
        building = Building(
            folder=folder,
            seed=plan.seed,
            server=server,
            broker=broker,
            small_disks=events.fill_disks(plan.events),
        )
        if events.move_clocks(plan.events):
            clock.set_wrong(folder, 0)
            clock.follow(folder)  # the operator sits before the node
        with hospital(building) as here:
            killed = _work(here, folder / "films", plan, told)
            operator = Operator(here)
            operator.drain()
            here.stop()
            here.start_once_more()
            found = _audited(here, told, operator)
    _print(found.counted | {f"told_{name}": n for name, n in told.by_sender.items()}, killed)
    print(_result(plan, found, told, operator, killed, time.monotonic() - started))
    return 1 if found.missed else 0


def _work(here: Hospital, films: Path, plan: Plan, told: Told) -> Counter[str]:
    """The hospital works and misfortune happens; ends when all that was begun is answered."""
    office = Office(here.mllp_port, told)
    desks = [
        Desk(sender, number, films, seed=plan.seed, told=told, office=office)
        for number, sender in enumerate(plan.senders)
    ]
    *at_desks, at_office = threads_of(desks, office, here.port)
    for thread in (*at_desks, at_office):
        thread.start()
    killed = _kill(here, plan)
    for desk in desks:
        desk.no_more_patients.set()
    for thread in at_desks:
        thread.join(SENDERS_LIMIT)
    office.over.set()
    at_office.join(SENDERS_LIMIT)
    told.problems += [f"{thread.name} did not come to an end" for thread in (*at_desks, at_office) if thread.is_alive()]
    return killed


def _kill(here: Hospital, plan: Plan) -> Counter[str]:
    """Kill until `kills` processes were killed; the archive is down for the middle third, and now and then besides."""
    rng = random.Random(plan.seed)
    killed: Counter[str] = Counter()
    due = [(plan.kills * n / (len(plan.events) + 1), name) for n, name in enumerate(plan.events, 1)]
    processes = {"listener": here.listener} | {f"worker{n}": one for n, one in enumerate(here.workers, 1)}
    while (done := sum(killed.values())) < plan.kills:
        here.turn_archive(down=plan.kills / 3 <= done < plan.kills * 2 / 3 or rng.random() < 0.05)
        time.sleep(rng.uniform(0.1, 1.6))
        while due and done >= due[0][0]:
            events.happen(due.pop(0)[1], here, plan.seconds)
        victims = rng.choices(("listener", "worker1", "worker2", "all"), (5, 2, 2, 2))[0]
        going = list(processes) if victims == "all" else [victims]
        for name in going:
            processes[name].kill()
            killed[name] += 1
        time.sleep(rng.uniform(0.0, 0.2))
        for name in going:
            processes[name].start()
        if rng.random() < 0.9:  # else it may be killed while it is still starting
            here.await_listener()
    here.turn_archive(down=False)
    here.await_listener()
    for _, name in due:
        time.sleep(plan.seconds)
        events.happen(name, here, plan.seconds)
    return killed


def _audited(here: Hospital, told: Told, operator: Operator) -> Findings:
    found = Findings()
    audit_ledger(found, here.ledger, here.node / "spool", told.sent, told.success)
    expected = Expected(films=told.sent, weights=told.weights, amended_by_person=operator.amended)
    audit_reports(found, here.ledger, here.archive_folder, expected)
    # The archive is a peer: that it logs the connections our kills cut is no finding of ours.
    audit_logs(found, [here.logs["listener"], here.logs["worker"]])
    found.note("sender_problem", told.problems)
    return found


def _result(plan: Plan, found: Findings, told: Told, operator: Operator, killed: Counter[str], seconds: float) -> str:
    figures = {
        "database": plan.database,
        "hints": plan.hints,
        "kills": sum(killed.values()),
        "events": "+".join(plan.events) or "none",
        **{kind: found.number(kind) for kind in ("lost", "surplus", "contradictory", "unproved", "failed")},
        "acknowledged": len(told.success),
        "messages": told.messages,
        "reports": found.counted["reports"],
        "amended": found.counted["amended"],
        "dead_letter_retried": operator.retried,
        "senders": "+".join(one.name for one in plan.senders),
        "seed": plan.seed,
        "seconds": f"{seconds:.0f}",
    }
    verdict = "" if not found.missed else " missed: " + ", ".join(found.missed)
    return "RESULT chaos " + " ".join(f"{name}={value}" for name, value in figures.items()) + verdict


def _senders(npm: Path) -> tuple[Sender, ...]:
    found = dcmtk_senders()
    client = dcmjs_sender(npm)
    if isinstance(client, str):
        print(f"chaos: without dcmjs-dimse: {client}", flush=True)
        return tuple(found)
    return (*found, client)


def _print(counted: dict[str, int], killed: Counter[str]) -> None:
    for name, number in [*((f"killed_{name}", n) for name, n in sorted(killed.items())), *counted.items()]:
        print(f"chaos: {name:24s} {number}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos.kill_campaign")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--hints", choices=("notify", "celery"), default="notify")
    parser.add_argument("--event", action="append", choices=events.NAMES, default=[], help="a misfortune; repeat it")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long an event lasts")
    parser.add_argument("--folder", help="where to leave everything; a temporary one by default")
    parser.add_argument("--npm", help="scratch folder for the npm client; inside the campaign's folder by default")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
