"""UIDs as a function of what they name: same content, same UID; any other content, another UID.

UID = `2.25.` + UUIDv5(installation namespace, JSON array of the key) (PS3.5 B.2). The namespace is made once per
installation, shared by all its workers and part of the backup. No clock and no random number here: a step that runs
twice after a crash must name the same objects.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import hashlib
import json
import uuid
from typing import Any

import numpy as np
from pydicom.uid import UID


def derive(namespace: uuid.UUID, *key: str | int) -> UID:
    """The UID of `key` within one installation."""
    name = json.dumps(key, ensure_ascii=False, separators=(",", ":"))
    return UID(f"2.25.{uuid.uuid5(namespace, name).int}")


def sop_instance_uid(
    namespace: uuid.UUID, *, source: str, kind: str, sop_class: str, digest: str, revision: int = 0
) -> UID:
    """UID of one result object; `revision` rises when a result is re-issued after a withdrawal burnt its UID."""
    return derive(namespace, source, kind, sop_class, digest, revision)


def sr_series_uid(namespace: uuid.UUID, source: str) -> UID:
    """UID of the SR series of one source image, shared by all versions of its result."""
    return derive(namespace, source, "sr")


def companion_series_uid(namespace: uuid.UUID, source: str, kind: str, version: int) -> UID:
    """UID of a companion's series: one per version, since an image stack opens on its first instance."""
    return derive(namespace, source, kind, version)


def tracking_uid(namespace: uuid.UUID, source: str) -> UID:
    """Tracking Unique Identifier (112040,DCM) of the result group, stable over versions."""
    return derive(namespace, source, "res")


def attention_uid(namespace: uuid.UUID, source: str, number: int) -> UID:
    """Tracking Unique Identifier (112040,DCM) of one attention region."""
    return derive(namespace, source, f"roi{number}")


def device_uid(namespace: uuid.UUID) -> UID:
    """Device Observer UID (121012,DCM) of the installation."""
    return derive(namespace, "device")


def content_digest(content: Any) -> str:
    """SHA-256 (hex) over the canonical JSON of `content`: dataclasses, mappings, sequences, enums, numbers, bytes.

    Raises:
        TypeError: a value has no canonical form.

    """
    text = json.dumps(content, default=_plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    if isinstance(value, uuid.UUID | enum.Enum):
        return str(value)
    msg = f"no canonical form for {type(value).__name__}"
    raise TypeError(msg)
