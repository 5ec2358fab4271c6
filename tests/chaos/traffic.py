"""What reaches the node in a campaign: films from independent senders, clinical data by HL7, some of either late.

A patient has a study of one or two films; the second comes later, as its own case. Clinical data come before the first
film, after it, twice after it, or never. Who sends, sends again until he is told Success or AA. What was sent, what was
told, and which weights a patient's report may rest on, is written down for the audit.
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from chaos import films
from chaos.senders import Sender
from support.mllp import Peer, block
from support.reporting import adt, person, weight

AT_ONCE = 3
"""Films that one sender has in hand."""
SCREENED_OF = 4
"""Of so many patients one has films that are to be screened: a report costs more than a reception."""
PAUSES = {"storescu": 0.1, "dcmsend": 0.1, "dcmjs-dimse": 2.0}
"""Seconds between two calls; node.js takes half a second of a core to start."""
TIMES = ("20240301080000+0000", "20240302080000+0000")
"""When the first and the second weight were measured."""


@dataclass(slots=True)
class Told:
    """What was sent and what the senders were told; shared by their threads."""

    sent: dict[str, films.Film] = field(default_factory=dict)
    success: set[str] = field(default_factory=set)
    weights: dict[str, list[float]] = field(default_factory=dict)
    """By patient, in kg, all answered with AA at the end; before the first film none may be missing in a report."""
    by_sender: Counter[str] = field(default_factory=Counter)
    sends: int = 0
    messages: int = 0
    problems: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(slots=True)
class Story:
    """One patient: when the data come, and how many films follow the first."""

    patient: str
    screened: bool
    told: str
    """When the clinical data come: `never`, `before`, `late` or `twice`."""
    late_films: int
    ready: threading.Event = field(default_factory=threading.Event)
    """The first film may go."""


class Office:
    """Sends clinical messages one after the other over MLLP, each again until it is answered AA."""

    def __init__(self, port: int, told: Told) -> None:
        self._port, self._told = port, told
        self._due: queue.PriorityQueue[tuple[float, int, Story, float, int]] = queue.PriorityQueue()
        self._number = 0
        self.over = threading.Event()
        """Nothing more is to be said."""

    def say(self, story: Story, kg: float, *, time_of: int, after: float) -> None:
        """Have a weight of the patient sent in `after` seconds."""
        with self._told.lock:
            self._told.weights.setdefault(story.patient, []).append(kg)
            self._number += 1
            self._due.put((time.monotonic() + after, self._number, story, kg, time_of))

    def work(self) -> None:
        """Until it is over and all is said."""
        link: Peer | None = None
        while not (self.over.is_set() and self._due.empty()):
            try:
                at, number, story, kg, time_of = self._due.get(timeout=0.1)
            except queue.Empty:
                continue
            if (wait := at - time.monotonic()) > 0 and not self.over.is_set():
                self._due.put((at, number, story, kg, time_of))
                time.sleep(min(wait, 0.1))
                continue
            who = person(story.patient)
            for frame in (adt(pid=who), weight(f"{kg:.1f}", pid=who, at=TIMES[time_of])):
                link = self._until_taken(frame, link)
            story.ready.set()
        if link is not None:
            link.socket.close()

    def _until_taken(self, frame: bytes, link: Peer | None) -> Peer:
        while True:
            with contextlib.suppress(OSError):
                link = link or Peer(self._port)
                link.send(block(frame))
                answer = link.answer()
                if answer is not None and answer[0] == "AA":
                    self._told.messages += 1
                    return link
            if link is not None:
                link.socket.close()
                link = None
            time.sleep(0.1)


class Desk:
    """One sender of films with his patients."""

    def __init__(self, sender: Sender, number: int, folder: Path, *, seed: int, told: Told, office: Office) -> None:
        self._sender, self._number, self._folder = sender, number, folder
        self._seed, self._told, self._office = seed, told, office
        self._random = random.Random(f"{seed}/{number}")
        self._films = self._patients = 0
        self._expected: list[tuple[Story, float]] = []
        """Films that are still to be made, and when."""
        self._waiting: list[tuple[Story, films.Film]] = []
        self.no_more_patients = threading.Event()

    def work(self, port: int) -> None:
        """Send until there are no more patients and every film was answered with Success."""
        try:
            while self._expected or self._waiting or not self.no_more_patients.is_set():
                self._expect()
                self._make()
                if not self._send(port):
                    time.sleep(0.3)  # nobody answered: he looks again in a moment
                time.sleep(PAUSES[self._sender.name] * self._random.uniform(0.5, 2.0))
        except Exception as error:  # noqa: BLE001 - outermost: the campaign ends with what went wrong, not without it
            with self._told.lock:
                self._told.problems.append(f"{self._sender.name}: {error}")

    def _expect(self) -> None:
        """New patients, as long as there are to be some."""
        while len(self._expected) + len(self._waiting) < AT_ONCE and not self.no_more_patients.is_set():
            patient = films.patient_of(self._number, self._patients)
            screened = self._patients % SCREENED_OF == 0
            told = self._random.choice(("never", "before", "late", "twice")) if screened else "never"
            story = Story(patient, screened, told, self._random.choice((0, 0, 1)) if screened else 0)
            self._patients += 1
            if told == "before":
                self._office.say(story, self._kg(), time_of=0, after=0.0)
            else:
                story.ready.set()
            self._expected.append((story, 0.0))

    def _make(self) -> None:
        """Films whose time has come."""
        hurry = self.no_more_patients.is_set()
        due = [one for one in self._expected if one[0].ready.is_set() and (hurry or one[1] <= time.monotonic())]
        for one in due:
            self._expected.remove(one)
            story, _ = one
            uid = films.uid_of(self._seed, self._number, self._films)
            self._films += 1
            film = films.write(self._folder, uid, screened=story.screened, patient=story.patient)
            self._waiting.append((story, film))
            with self._told.lock:
                self._told.sent[film.uid] = film

    def _send(self, port: int) -> bool:
        """A few films, now and then one that was taken already; whether anybody answered."""
        batch = self._random.sample(self._waiting, min(len(self._waiting), self._random.randint(1, AT_ONCE)))
        going = [film for _, film in batch]
        with self._told.lock:
            if self._told.success and self._random.random() < 0.15:
                going.append(self._told.sent[self._random.choice(sorted(self._told.success))])
        if not going:
            return True
        success = self._sender.send(port, going)
        with self._told.lock:
            self._told.success |= success
            self._told.by_sender[self._sender.name] += len(success)
            self._told.sends += len(going)
        for story, film in [one for one in batch if one[1].uid in success]:
            self._waiting.remove((story, film))
            self._after_first_film(story)
        return bool(success)

    def _after_first_film(self, story: Story) -> None:
        if story.told in ("late", "twice"):
            kg = self._kg()
            self._office.say(story, kg, time_of=0, after=self._random.uniform(2.0, 8.0))
            if story.told == "twice":  # a day later, and so not far from it: a jump would be nobody's weight
                self._office.say(story, kg + 0.5, time_of=1, after=self._random.uniform(4.0, 12.0))
        if story.late_films:
            self._expected.append((story, time.monotonic() + self._random.uniform(1.0, 8.0)))
        story.told, story.late_films = "never", 0

    def _kg(self) -> float:
        return round(self._random.uniform(45.0, 84.0), 1)


def threads_of(desks: Iterable[Desk], office: Office, port: int) -> list[threading.Thread]:
    """A thread for each desk and the last one for the office, not started."""
    working = [threading.Thread(target=desk.work, args=(port,), daemon=True) for desk in desks]
    return [*working, threading.Thread(target=office.work, daemon=True)]
