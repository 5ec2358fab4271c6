"""Settings of results as HL7 v2 messages."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from config.fields import Group, OptionalPath, Seconds

Hl7Charset = Literal[
    "UNICODE UTF-8",
    "ASCII",
    "8859/1",
    "8859/2",
    "8859/3",
    "8859/4",
    "8859/5",
    "8859/6",
    "8859/7",
    "8859/8",
    "8859/9",
    "8859/15",
]
"""Character sets of HL7 table 0211 in which no separator can be part of another character."""
_Text = Annotated[str, Field(max_length=180)]


class Hl7Receiver(Group):
    """One system (a RIS, an interface engine) that is sent each report as ORU^R01, by MLLP."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,19}$")]
    """Short name used in lanes, logs and commands."""
    host: str
    """Its address."""
    port: Annotated[int, Field(ge=1, le=65535)] = 2575
    """Its MLLP port."""
    application: _Text = ""
    """Receiving application (MSH-5.1)."""
    facility: _Text = ""
    """Receiving facility (MSH-6.1)."""
    charset: Hl7Charset = "UNICODE UTF-8"
    """Character set of the messages (MSH-18). What it does not have becomes `?`; a name in another script is left out.
    """
    tls: bool = False
    """Speak TLS 1.2 or newer; the receiver's certificate and host name are checked."""
    ca: OptionalPath = None
    """PEM file of the authorities that may sign the receiver's certificate; none means the system's."""
    certificate: OptionalPath = None
    """PEM file with the node's own certificate and its chain, where the receiver asks for one."""
    key: OptionalPath = None
    """PEM file with its private key, without a passphrase."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        files = (self.ca, self.certificate, self.key)
        if not self.tls and any(files):
            msg = "ca, certificate and key need tls = true; patient data would go in plain text"
            raise ValueError(msg)
        if (self.certificate is None) != (self.key is None):
            msg = "certificate and key belong together"
            raise ValueError(msg)
        return self


class ResultsOut(Group):
    """Each report as an HL7 v2.5.1 message ORU^R01 (IHE RAD-128), unverified (OBR-25 = R). Off without a receiver."""

    receivers: tuple[Hl7Receiver, ...] = ()
    """Who is sent the messages. The structured report is the result; this is a notice for the worklist of a person."""
    application: _Text = "OSTEON"
    """Sending application (MSH-3.1)."""
    facility: _Text = ""
    """Sending facility (MSH-4.1)."""
    procedure: Annotated[str, Field(pattern=r"^[^|~\\&^\r\n]+(\^[^|~\\&^\r\n]+){2}$")] = "36643-5^XR Chest 2 Views^LN"
    """Code of the examination (OBR-4) as `code^meaning^coding system`, as the receiver's catalogue has it."""
    connect_timeout: Annotated[float, Field(ge=0.01, le=300)] = 10.0
    """Seconds to reach a receiver."""
    answer_timeout: Annotated[float, Field(ge=0.01, le=600)] = 30.0
    """Seconds for its acknowledgement; then the message is sent again, byte for byte."""
    backoff_first: Seconds = 1.0
    """Seconds before the second try; doubles each time."""
    backoff_cap: Seconds = 900.0
    """Longest pause between tries, seconds."""

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [receiver.name for receiver in self.receivers]
        if len(names) != len(set(names)):
            msg = "receivers: two of them share a name; give each its own"
            raise ValueError(msg)
        return self
