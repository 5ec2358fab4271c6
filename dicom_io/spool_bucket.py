"""Spooled files in an S3-compatible bucket, through fsspec and s3fs (extra `fleet`).

An object arrives in a `Part` on this host's disk. It is published by one PUT, which a bucket shows whole or not at all,
with its MD5, so that the server refuses other bytes. The PUT counts once the server's ETag is that MD5; a server whose
ETag is something else (SSE-KMS) is asked for the object, and what it gives must have the digest that was received.
Until then nobody is answered Success.

Reading fetches into this host's cache. A bucket without the marker is not our spool, whatever it answers: an image is
never judged gone because of it.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dicom_io.content_digest import ContentDigest, algorithm_of, file_digest, is_intact
from dicom_io.errors import SpoolFull, SpoolUnavailable
from dicom_io.part import Part
from dicom_io.spool_cache import SpoolCache
from dicom_io.spool_names import QUARANTINE
from dicom_io.spool_shelf import MARKER, Shelved, disk_used_percent

LARGEST_PUT: Final = 5_000_000_000
"""Bytes that S3 takes in one PUT."""
_CHUNK: Final = 1 << 20
_CONNECT_SECONDS: Final = 5
_ANSWER_SECONDS: Final = 20
_TRIES: Final = 2
_IMAGE: Final = re.compile(r"[0-9a-f]{2}/[^/]+\.dcm")
_FULL: Final = ("QuotaExceeded", "XMinioStorageFull", "InsufficientStorage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Where the bucket is and who asks."""

    name: str
    prefix: str = ""
    """Below which everything lies; without slashes around it."""
    endpoint: str = ""
    """URL of an S3-compatible server; empty for Amazon's."""
    credentials: Mapping[str, str] | None = None
    """`key` and `secret`; None: what botocore finds by itself (an instance's role, AWS's own files)."""


class BucketShelf:
    """A bucket shared by several hosts. Objects arrive in `local`, a folder of this host in the cache's file system."""

    def __init__(self, bucket: Bucket, local: Path, cache: SpoolCache) -> None:
        """Raise ImportError without the extra `fleet`. Nothing is asked of the server yet."""
        self._bucket = bucket.name
        self._root = f"{bucket.prefix}/" if bucket.prefix else ""
        self._s3: Any = _file_system(bucket)
        self._parts = local / "arriving"
        self._parts.mkdir(parents=True, exist_ok=True)
        self._cache = cache

    @property
    def shared(self) -> bool:
        """It is."""
        return True

    def part(self, head: bytes, limit: int) -> Part:
        """As `Shelf.part`."""
        return Part(self._parts / f"{uuid.uuid4().hex}.part", head, limit=limit)

    def publish(self, part: Part, file: str) -> None:
        """As `Shelf.publish`; the part becomes this host's copy."""
        self._put(part.path, file, part.digest)
        self._cache.put(part.path, file)

    def path(self, file: str) -> Path:
        """As `Shelf.path`: a copy on this host, fetched where there is none."""
        return self._cache.fetch(file, self._download, self.marker)

    def holds(self, file: str) -> bool:
        """As `Shelf.holds`."""
        return self._facts(file) is not None

    def size(self, file: str) -> int:
        """As `Shelf.size`."""
        facts = self._facts(file)
        return 0 if facts is None else int(facts["ContentLength"])

    def intact(self, file: str, digest: str) -> bool:
        """As `Shelf.intact`; what the bucket gives, not this host's copy."""
        with self._cache.borrowed() as copy:
            if not self._download(file, copy):
                raise FileNotFoundError(file)
            return is_intact(copy, digest)

    def move(self, file: str, to: str) -> None:
        """As `Shelf.move`: put under the other name, then deleted."""
        content = self.path(file)
        self._put(content, to, file_digest(content))
        self.remove(file)

    def remove(self, file: str) -> None:
        """As `Shelf.remove`."""
        self._cache.drop(file)
        with _answered():
            self._s3.call_s3("delete_object", Bucket=self._bucket, Key=self._root + file)

    def images(self) -> Iterator[Shelved]:
        """As `Shelf.images`."""
        return (found for found in self._listed("") if _IMAGE.fullmatch(found.file))

    def quarantined(self) -> Iterator[Shelved]:
        """As `Shelf.quarantined`."""
        return self._listed(f"{QUARANTINE}/")

    def sweep(self) -> int:
        """As `Shelf.sweep`: on this host; a PUT that was cut off left nothing in the bucket."""
        parts = list(self._parts.glob("*.part"))
        for part in parts:
            part.unlink(missing_ok=True)
        return len(parts)

    def sweep_abandoned(self) -> int:
        """Another host's temporary files lie on its own disk."""
        return 0

    def forget_copies(self, before: dt.datetime) -> None:
        """As `Shelf.forget_copies`."""
        self._cache.forget(before.timestamp())

    def used_percent(self) -> float:
        """As `Shelf.used_percent`: of this host's disk, through which everything passes."""
        return disk_used_percent(self._parts)

    def marker(self) -> str | None:
        """As `Shelf.marker`."""
        with _answered():
            try:
                content: bytes = self._s3.cat_file(self._remote(MARKER))
            except FileNotFoundError:
                return None
            return content.decode("ascii").strip()

    def write_marker(self, text: str) -> None:
        """As `Shelf.write_marker`."""
        with self.part(text.encode("ascii"), len(text)) as part:
            self._put(part.path, MARKER, part.seal())

    def _put(self, content: Path, file: str, digest: str) -> None:
        """PUT, and have it confirmed."""
        md5 = _md5_of(content, digest)
        encoded = base64.b64encode(md5.digest()).decode("ascii")
        with _answered(), content.open("rb") as body:
            answer = self._s3.call_s3(
                "put_object", Bucket=self._bucket, Key=self._root + file, Body=body, ContentMD5=encoded
            )
        if str(answer.get("ETag", "")).strip('"') != md5.hexdigest() and not self._gives_back(file, digest):
            msg = "the shared spool did not confirm what it was given"
            raise SpoolUnavailable(msg)

    def _gives_back(self, file: str, digest: str) -> bool:
        try:
            return self.intact(file, digest)
        except FileNotFoundError:
            return False

    def _download(self, file: str, to: Path) -> bool:
        with _answered():
            try:
                self._s3.get_file(self._remote(file), str(to))
            except FileNotFoundError:
                return False
            return True

    def _facts(self, file: str) -> Mapping[str, Any] | None:
        """What the bucket says of `file` (HEAD)."""
        with _answered():
            try:
                facts: Mapping[str, Any] = self._s3.call_s3("head_object", Bucket=self._bucket, Key=self._root + file)
            except FileNotFoundError:
                return None
            return facts

    def _listed(self, beginning: str) -> Iterator[Shelved]:
        """By key, a page at a time: a spool may hold more than one would like in memory."""
        where: dict[str, str] = {"Bucket": self._bucket, "Prefix": self._root + beginning}
        while True:
            with _answered():
                page: Mapping[str, Any] = self._s3.call_s3("list_objects_v2", **where)
            for entry in page.get("Contents", ()):
                file = str(entry["Key"])[len(self._root) :]
                yield Shelved(file=file, size=int(entry["Size"]), at=entry["LastModified"])
            if not page.get("IsTruncated"):
                return
            where["ContinuationToken"] = page["NextContinuationToken"]

    def _remote(self, file: str) -> str:
        return f"{self._bucket}/{self._root}{file}"


def _file_system(bucket: Bucket) -> Any:
    """One of our own, without fsspec's cache of listings: what other hosts do must be seen."""
    import fsspec  # noqa: PLC0415 - an extra; also slow to import, and needed by fleets only

    settings = {
        "connect_timeout": _CONNECT_SECONDS,
        "read_timeout": _ANSWER_SECONDS,
        "retries": {"max_attempts": _TRIES, "mode": "standard"},
        # Content-MD5 is checked by every S3-compatible server; the newer trailers are not known to all of them.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    system = fsspec.filesystem(
        "s3",
        endpoint_url=bucket.endpoint or None,
        config_kwargs=settings,
        use_listings_cache=False,
        skip_instance_cache=True,
        **(bucket.credentials or {}),
    )
    system.retries = 1  # botocore's tries are enough: it rewinds the body, and a sender waits
    return system


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    """Give whatever a client library raises the name of what it means: nothing is known to be stored or missing."""
    try:
        yield
    except SpoolUnavailable:
        raise
    except Exception as error:
        if any(word in str(error) for word in _FULL):
            msg = "the shared spool is full"
            raise SpoolFull(msg) from error
        msg = f"the shared spool does not answer ({type(error).__name__})"
        raise SpoolUnavailable(msg) from error


def _md5_of(content: Path, digest: str) -> Any:
    """MD5 of a file that still has `digest`: what is uploaded is what was received. Raises SpoolUnavailable."""
    md5, received = hashlib.md5(usedforsecurity=False), ContentDigest(algorithm_of(digest))
    with content.open("rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK):
            md5.update(chunk)
            received.update(chunk)
    if received.text() != digest:
        msg = "this host's disk does not give back what was received"
        raise SpoolUnavailable(msg)
    return md5
