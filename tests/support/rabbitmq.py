"""A private RabbitMQ for tests: own node name, ports, folder and epmd, on loopback only, gone at the end.

    with broker() as rabbit:            # skips with its reason where RabbitMQ is absent; fails with CI=true
        rabbit.url                      # amqp://guest:guest@127.0.0.1:<port>//  for Celery, kombu, `fleet.broker_url`
        rabbit.stop()                   # the broker is away; `stop(hard=True)` is a kill -9, as in a power failure
        rabbit.start()                  # it is back at the same port with what it had on disk
        rabbit.restart()                # both

`start` returns once the broker greets by AMQP (4 to 8 s on two busy cores). Both processes, Erlang's and the port
mapper's, are children of this one and are ended by their process id; nothing is left behind and nothing that another
program runs is touched. RabbitMQ needs no root: its launcher is called past Debian's wrapper.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.tools import require_tool

_LAUNCHERS = "/usr/lib/rabbitmq/lib"
_START_SECONDS = 90.0
_STOP_SECONDS = 20.0
_GREETING = b"AMQP\x00\x00\x09\x01"
_QUIET = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
"""One scheduler without busy waiting: a broker that carries integers needs no more, and the cores are shared."""


@dataclass(slots=True, kw_only=True)
class Broker:
    """One node. Not for two threads at once."""

    launcher: Path
    folder: Path
    port: int
    epmd_port: int
    dist_port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """Address for AMQP clients; `guest` may come from loopback only, which is where this listens."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    @property
    def pid(self) -> int:
        """Process id of the running node."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the node and wait until it greets."""
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.launcher)],
                env=self._environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._greets():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "server.log").read_text(errors="replace")[-2000:]
                message = f"RabbitMQ did not start (status {self._process.poll()}): {said}"
                raise AssertionError(message)
            time.sleep(0.1)

    def stop(self, *, hard: bool = False) -> None:
        """End the node: orderly, or as in a power failure. One that does not run is fine."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGKILL if hard else signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self, *, hard: bool = False) -> None:
        """`stop`, then `start`."""
        self.stop(hard=hard)
        self.start()

    def _greets(self) -> bool:
        """Whether Connection.Start comes (AMQP 0-9-1, 2.2.4): a port that listens already is no broker yet."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 2) as link:
            link.sendall(_GREETING)
            return link.recv(1) == b"\x01"
        return False

    def _environment(self) -> dict[str, str]:
        place = self.folder
        own: dict[str, Any] = {
            "HOME": place,  # the Erlang cookie
            "RUNNING_UNDER_SYSTEMD": "true",  # the launcher becomes Erlang instead of its parent: one process to end
            "RABBITMQ_NODENAME": f"osteon-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": self.port,
            "RABBITMQ_DIST_PORT": self.dist_port,
            "RABBITMQ_MNESIA_BASE": place / "mnesia",
            "RABBITMQ_LOG_BASE": place / "log",
            "RABBITMQ_PID_FILE": place / "pid",
            "RABBITMQ_ENABLED_PLUGINS_FILE": place / "plugins",
            "RABBITMQ_CONF_ENV_FILE": place / "none.conf",
            "RABBITMQ_CONFIG_FILE": place / "rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": place / "advanced.config",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _QUIET,
            "ERL_EPMD_PORT": self.epmd_port,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        return os.environ | {name: str(value) for name, value in own.items()}


@contextmanager
def broker() -> Iterator[Broker]:
    """Run a private broker for the block."""
    mapper = require_tool("epmd")
    require_tool("rabbitmq-server")
    launcher = next(iter(sorted(Path(_LAUNCHERS).glob("*/sbin/rabbitmq-server"))))
    folder = Path(tempfile.mkdtemp(prefix="osteon-rabbit-"))
    port, epmd_port, dist_port = _free_ports(3)
    (folder / "plugins").write_text("[].")
    # A broker on a busy test machine must not stop taking messages because others filled disk or memory.
    (folder / "rabbitmq.conf").write_text("disk_free_limit.absolute = 1MB\nlog.file.level = warning\n")
    (folder / "advanced.config").write_text("[].")
    names = subprocess.Popen(  # our own, or Erlang would start one that outlives everybody
        [mapper, "-port", str(epmd_port), "-address", "127.0.0.1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    node = Broker(launcher=launcher, folder=folder, port=port, epmd_port=epmd_port, dist_port=dist_port)
    try:
        node.start()
        yield node
    finally:
        node.stop(hard=True)
        names.kill()
        names.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    """Ports free at this moment, all different."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
