"""The TLS files of a server, the same for every protocol the node listens to."""

from __future__ import annotations

from typing import ClassVar

from config.fields import Group, OptionalPath


class ServerTls(Group):
    """A certificate with its key, and who must show one."""

    where: ClassVar[str] = "tls"
    """Path of the table in the configuration, for messages that name a key of it."""

    enabled: bool = False
    """Speak TLS."""
    certificate: OptionalPath = None
    """PEM file with the node's certificate and its chain; read again when it changes."""
    key: OptionalPath = None
    """PEM file with the private key, without a passphrase, readable by the node only."""
    client_ca: OptionalPath = None
    """PEM file of the authorities whose client certificates are accepted; none means clients show none."""
