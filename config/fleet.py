"""Settings of a fleet: several hosts over one PostgreSQL. Nothing here is needed on one host.

A combination that cannot work is refused when the file is read, with a code: FLEET-SQLITE, FLEET-SPOOL, FLEET-BROKER.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field

from config.fields import Group, OptionalPath

_SINGLE_PUT_MB = 5000
"""What S3 takes in one PUT."""


def _spool(value: str) -> str:
    """A folder by absolute path or `file:` URL, or `s3://bucket/prefix`."""
    parts = urlsplit(value)
    folder = parts.scheme in ("", "file") and not parts.netloc and parts.path.startswith("/")
    bucket = parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc
    if value and (not (folder or bucket) or parts.query or parts.fragment):
        msg = "FLEET-SPOOL: write an absolute path, file:///path or s3://bucket/prefix"
        raise ValueError(msg)
    return value


class Fleet(Group):
    """Several hosts, each with `osteon listen` or `osteon work`, over one PostgreSQL (deploy/docs/fleet.md).

    Needs the extra `fleet`. Every host has a `storage.data_dir` of its own, on its own disk.
    """

    spool: Annotated[str, AfterValidator(_spool)] = ""
    """Where all hosts find the received images: a folder that every host mounts (a path, or file:///path), or
    s3://bucket/prefix on an S3-compatible server. Empty: in `storage.data_dir`, for one host."""
    spool_endpoint: str = ""
    """URL of the S3-compatible server, e.g. `https://minio.example:9000`; empty for Amazon's."""
    spool_credentials: OptionalPath = None
    """File in AWS's form, `[default]` with `aws_access_key_id` and `aws_secret_access_key`, readable by the node only.
    None: what AWS's tools find by themselves, e.g. the role of the instance."""
    spool_cache_mb: Annotated[int, Field(ge=100, le=10_000_000)] = 2000
    """Megabytes of copies of a bucket's images kept in `storage.data_dir` of each host."""
    hints: Literal["notify", "poll", "celery"] = "notify"
    """What tells a process at once that there is work: the ledger (PostgreSQL's NOTIFY; on SQLite a named pipe beside
    it), nothing (`poll`), or Celery messages on RabbitMQ. A hint only wakes: without any, the poll finds work."""
    broker: str = ""
    """`amqp://user:password@host:5672/vhost` of RabbitMQ, for `hints = "celery"`."""
    lease: Annotated[float, Field(ge=3, le=600)] = 60.0
    """Seconds for which work stays a process's own without a heartbeat, of which there are six in that time: so long
    after a host has died another takes its work over. Shorter ones are lost more easily while the database is busy."""
    poll: Annotated[float, Field(ge=0.02, le=60)] = 0.1
    """Seconds between looks at the ledger when nothing wakes a host: what a lost hint costs. 0.1 costs 2 % of a core
    for each process; with many hosts and hints, 1 to 5 relieves the database."""

    @property
    def folder(self) -> Path | None:
        """The shared folder; None where the spool is no folder or not shared."""
        parts = urlsplit(self.spool)
        return Path(unquote(parts.path) if parts.scheme else self.spool) if self.spool and not self.bucket else None

    @property
    def bucket(self) -> tuple[str, str] | None:
        """Name and prefix (without slashes around it) of the bucket; None where the spool is none."""
        parts = urlsplit(self.spool)
        return (parts.netloc, parts.path.strip("/")) if parts.scheme == "s3" else None

    def fault(self, *, database_url: str, largest_object_mb: int) -> str | None:
        """Why these settings cannot work together, with its code and the remedy."""
        if (self.spool or self.hints == "celery") and not database_url.startswith("postgresql"):
            key = "fleet.spool" if self.spool else "fleet.hints"
            return (
                f"FLEET-SQLITE: {key} is for several hosts, which SQLite cannot serve; "
                "set storage.database_url to postgresql+psycopg://..., or remove it"
            )
        broker = urlsplit(self.broker)
        if self.hints == "celery" and (broker.scheme not in ("amqp", "amqps") or not broker.hostname):
            # Not quoted: it may hold a password.
            return "FLEET-BROKER: fleet.hints is celery: write amqp(s)://user:password@host:5672/vhost in fleet.broker"
        if self.bucket and largest_object_mb > _SINGLE_PUT_MB:
            return f"FLEET-SPOOL: a bucket takes objects of {_SINGLE_PUT_MB} MB; lower reception.maximum_object_mb"
        return None
