"""Independent senders: DCMTK's `storescu` and `dcmsend`, npm's dcmjs-dimse; what each was told, object by object."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.films import Film
from support import npm

CALLED = "OSTEON"
_PEERS = Path(__file__).parent.parent / "peers"
_LIMIT = 30.0
_SENDING_FILE = re.compile(r"Sending file: (.+)$")
_SENDING_MESSAGE = re.compile(r"Sending C-STORE Request \(MsgID (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """One program that sends; `send` gives the UIDs that were answered with Success."""

    name: str
    send: Callable[[int, Sequence[Film]], set[str]]


def dcmtk_senders() -> list[Sender]:
    """The senders of DCMTK; empty where it is not installed."""
    found = [Sender(name="storescu", send=_storescu), Sender(name="dcmsend", send=_dcmsend)]
    return [sender for sender in found if shutil.which(sender.name)]


def dcmjs_sender(scratch: Path) -> Sender | str:
    """The dcmjs-dimse client, installed below `scratch`; or why there is none."""
    modules = npm.installed(scratch)
    if isinstance(modules, str):
        return modules
    environment = os.environ | {"NODE_PATH": str(modules)}
    return Sender(name="dcmjs-dimse", send=lambda port, films: _dcmjs(port, films, environment))


def _storescu(port: int, films: Sequence[Film]) -> set[str]:
    command = ["storescu", "-v", "-xi", "-ts", "10", "-ta", "10", "-td", "10", "-aet", "STORESCU", "-aec", CALLED]
    told: set[str] = set()
    by_name = {str(film.file): film.uid for film in films}
    current = ""
    for line in _run([*command, "127.0.0.1", str(port), *by_name]):
        if match := _SENDING_FILE.search(line):
            current = by_name[match[1]]
        elif "Received Store Response (Success)" in line and current:
            told.add(current)
            current = ""
    return told


def _dcmsend(port: int, films: Sequence[Film]) -> set[str]:
    command = ["dcmsend", "-v", "-ta", "10", "-td", "10", "-aet", "DCMSEND", "-aec", CALLED, "127.0.0.1", str(port)]
    told: set[str] = set()
    current = ""
    for line in _run([*command, *(str(film.file) for film in films)]):
        if match := _SENDING_MESSAGE.search(line):
            current = films[int(match[1]) - 1].uid  # one context, one association: in the order of the list
        elif "Received C-STORE Response (Success)" in line and current:
            told.add(current)
            current = ""
    return told


def _dcmjs(port: int, films: Sequence[Film], environment: dict[str, str]) -> set[str]:
    files = [str(film.file) for film in films]
    command = ["node", str(_PEERS / "send.cjs"), "127.0.0.1", str(port), CALLED, "DCMJS", *files]
    digests = {film.uid: film.dataset_sha256 for film in films}
    told: set[str] = set()
    for line in _run(command, environment):
        if line.startswith('{"uid"'):
            answer = json.loads(line)
            if answer["sha256"] != digests[answer["uid"]]:
                message = f"dcmjs-dimse sent other bytes than the file's: {answer['uid']}"
                raise AssertionError(message)
            if answer["status"] == 0:
                told.add(answer["uid"])
    return told


def _run(command: list[str], environment: dict[str, str] | None = None) -> list[str]:
    """Lines of output, also of a program that had to be ended: what it was told counts."""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as running:
        try:
            output, _ = running.communicate(timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            running.kill()
            output, _ = running.communicate()
    return output.splitlines()
