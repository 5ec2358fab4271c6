"""Image scores kept under (image digest, bundle digest): a wait or an amendment then costs only the fusion step.

A score is a pure function of both keys, so whoever writes it second writes the same and nothing is ever replaced.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from pydantic import TypeAdapter

from model.domain import ImageScore
from node.store.engine import Connection
from node.store.upsert import add_missing
from node.store.version_schema import image_score

# A tuple of one, as in `case_json`: floats come back bit for bit, and tuples as tuples.
_ADAPTER: Final = TypeAdapter(tuple[ImageScore])


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One score with its keys."""

    digest: str
    """Of the image's bytes, as in its `Source`."""
    model: str
    """Of the bundle."""
    score: ImageScore


def keep(c: Connection, entry: Entry) -> None:
    """Keep a score, unless it is kept already."""
    document = _ADAPTER.dump_json((entry.score,)).decode()
    row = {"digest": entry.digest, "model": entry.model, "document": document, "at": dt.datetime.now(dt.UTC)}
    add_missing(c, image_score, [row])


def load(c: Connection, digest: str, model: str) -> ImageScore | None:
    """Return the score that was kept, or None."""
    document = c.execute(_DOCUMENT, {"digest": digest, "model": model}).scalar_one_or_none()
    return None if document is None else _ADAPTER.validate_json(document)[0]


_DOCUMENT = sa.select(image_score.c.document).where(
    image_score.c.digest == sa.bindparam("digest"), image_score.c.model == sa.bindparam("model")
)
"""Built once: to build a statement costs more than to run it."""
