"""Settings of the HL7 v2 feed."""

from __future__ import annotations

import codecs
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from config.fields import Group, Network, Port, Seconds, TimeZone
from config.tls import ServerTls


def _charset(value: str) -> str:
    r"""A codec in which the separators of a message are the bytes of ASCII: UTF-16 cannot travel in MLLP."""
    try:
        usable = codecs.lookup(value).encode("MSH|^~\\&\r")[0] == b"MSH|^~\\&\r"
    except (LookupError, TypeError, ValueError):
        usable = False
    if not usable:
        msg = "no character set of this name can travel in MLLP; examples are 'utf-8', 'iso8859-1', 'gb18030'"
        raise ValueError(msg)
    return value


Charset = Annotated[str, AfterValidator(_charset)]


class FeedTls(ServerTls):
    """HL7 over TLS (1.2 with AEAD-ECDHE suites, and 1.3) on the feed's port; plain text is refused there then."""

    where: ClassVar[str] = "clinical.mllp.tls"


class SendingApplication(Group):
    """A sender by its message header."""

    application: str
    """Sending application (MSH-3.1), compared exactly."""
    facility: str = ""
    """Sending facility (MSH-4.1); empty means any."""


class Mllp(Group):
    """The HL7 v2 listener (MLLP)."""

    enabled: bool = True
    """Off where clinical data come by CSV only."""
    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` for all IPv4 interfaces. Senders elsewhere also need `networks`."""
    port: Port = 2575
    """IANA port of MLLP; 0 takes a free one (tests)."""
    networks: tuple[Network, ...] = ("127.0.0.0/8", "::1/128")
    """CIDR networks that may connect; whoever else does is dropped and listed by `osteon inbox --feeds`."""
    sending_applications: tuple[SendingApplication, ...] = ()
    """Senders whose messages are taken; others are answered AR. Empty means all."""
    max_frame_bytes: Annotated[int, Field(ge=1024, le=64 << 20)] = 4 << 20
    """Longer messages (bytes) are answered AR 207."""
    max_connections: Annotated[int, Field(ge=1, le=1024)] = 64
    """Simultaneous connections; more are closed at once."""
    max_connections_per_peer: Annotated[int, Field(ge=1, le=1024)] = 8
    """Of these, for one address; so that one sender with idle connections starves no other."""
    block_timeout: Seconds = 30.0
    """Seconds in which a message, once begun, must end. An idle link may stay open for days."""
    accept_test: bool = False
    """Take messages whose MSH-11 is T or D as well; otherwise they are answered AR 202."""
    strict_types: bool = False
    """Answer AR 200 or 201 to messages the node does not use. By default they are answered AA and counted: many
    interface engines stop behind an AR."""
    prior_identifiers: Literal["redirect", "reject"] = "redirect"
    """Messages for an identifier that was merged into another: `redirect` takes them for the survivor, `reject` answers
    AR 204 if the merge is known when they arrive."""
    default_charset: Charset = "utf-8"
    """Codec of messages whose MSH-18 is empty."""
    pinned_charset: Charset | None = None
    """Codec of all messages, whatever MSH-18 says; for senders that declare one they do not use."""
    timezone: TimeZone | None = None
    """IANA zone of times without an offset; none means the site's."""
    default_issuer: str = ""
    """Assigning authority of identifiers that state none (CX.4 empty), as `NAMESPACE` or `NAMESPACE&OID&ISO`. Without
    it such identifiers are not used, and nothing joins by them."""
    decimal_comma: bool = False
    """Numbers come with a decimal comma."""
    keep_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """Days for which messages are kept as received, and resent ones recognised. What waits for a person is kept."""
    tls: FeedTls = FeedTls()
    """TLS on the feed's port."""
