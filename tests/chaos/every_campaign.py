"""`make chaos`: every campaign in its long form, one after the other, each with its RESULT line, and one for all.

python -m chaos.every_campaign [--kills 200] [--seed 1] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

_CELERY_SHARE = 0.3
"""Of the kills, with Celery and RabbitMQ: 60 of 200."""


def main() -> int:
    """Run them; 0 only if every one held."""
    options = _options()
    started = time.monotonic()
    every = _campaigns(options)
    if unknown := sorted(set(options.only) - set(every)):
        print(f"chaos: no campaign is called {', '.join(unknown)}; there are {', '.join(every)}")
        return 2
    wanted = {name: line for name, line in every.items() if not options.only or name in options.only}
    missed = []
    for name, line in wanted.items():
        print(f"chaos: == {name}", flush=True)
        if subprocess.run([sys.executable, "-m", *line], check=False).returncode:
            missed.append(name)
    verdict = f" missed: {', '.join(missed)}" if missed else ""
    print(f"RESULT make-chaos campaigns={len(wanted)} seconds={time.monotonic() - started:.0f}{verdict}")
    return 1 if missed else 0


def _campaigns(options: argparse.Namespace) -> dict[str, list[str]]:
    seed = ["--seed", str(options.seed)] + (["--npm", options.npm] if options.npm else [])

    def kills(
        number: float, *events: str, database: str = "sqlite", hints: str = "notify", last: float = 10
    ) -> list[str]:
        line = ["chaos.kill_campaign", "--kills", f"{number:.0f}", "--database", database, "--hints", hints, *seed]
        return [*line, "--seconds", str(last), *(word for event in events for word in ("--event", event))]

    server, rabbit = {"database": "postgresql"}, {"database": "postgresql", "hints": "celery"}
    return {
        "step-kills": ["chaos.step_kills"],
        "amend-kills": ["chaos.amend_kills"],
        "withdraw-kills": ["chaos.withdraw_kills"],
        "kills-sqlite": kills(options.kills),
        "kills-postgresql": kills(options.kills, "database-restarted", **server),
        "kills-rabbitmq": kills(options.kills * _CELERY_SHARE, "broker-restarted", **rabbit),
        "disk-full": kills(0, "ledger-full", "spool-full", last=15),
        "database-stopped": kills(0, "database-stopped", last=60, **server),
        "clock-jump": kills(0, "clock-forward", "clock-back", last=15),
        "broker-lost": kills(0, "broker-lost", last=15, **rabbit),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos.every_campaign")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--npm", help="scratch folder for the npm client")
    parser.add_argument("--only", action="append", default=[], help="name of a campaign; repeat it")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
