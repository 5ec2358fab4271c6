"""Settings of the HL7 v2 feed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from config.fields import Group, Port, Seconds


class Mllp(Group):
    """The HL7 v2 listener (MLLP)."""

    enabled: bool = True
    """Off where clinical data come by CSV only."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Port = 2575
    """IANA port of MLLP; 0 takes a free one (tests)."""
    max_frame_bytes: Annotated[int, Field(ge=1024, le=64 << 20)] = 4 << 20
    """Longer messages are answered AR 207."""
    max_connections: Annotated[int, Field(ge=1, le=1024)] = 64
    """Simultaneous connections."""
    block_timeout: Seconds = 30.0
    """Seconds in which a message, once begun, must end. An idle link may stay open for days."""
    default_charset: str = "utf-8"
    """Codec of messages whose MSH-18 is empty."""
