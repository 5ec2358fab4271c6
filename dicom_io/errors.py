"""Errors of `dicom_io`, named by what happens next.

    DicomIoError
    |-- HeaderInvalid     the object says too little, or too much nonsense, to be owned: park it for a person
    |-- PixelDecodeError  the pixels cannot be read: the case ends, trying again changes nothing
    |-- SpoolFull         no room: answer 0xA700, the sender keeps the image and comes again
    |-- SpoolUnavailable  shared storage does not answer: 0xA700 to a sender, a case tries again, nothing is judged gone
    |-- SenderGone        the association ended in mid-object: nobody waits for an answer, the sender comes again
    |-- TransactionInUse  refuse this commitment request: its UID belongs to another
    `-- PeerFault
        |-- PeerUnavailable   the archive cannot take it now: try again with back-off, for days if need be
        `-- PeerRefused       the archive will not take it: a person must act

A message carries coded facts and UIDs, never a name or an identifier of a patient.
"""

from __future__ import annotations


class DicomIoError(Exception):
    """Root of the package's errors."""


class HeaderInvalid(DicomIoError):
    """The header cannot be parsed, or lacks a UID without which the object cannot be owned."""


class PixelDecodeError(DicomIoError):
    """The pixel data are absent, of an unsupported kind, or not what the header claims."""


class SenderGone(DicomIoError):
    """The sender aborted or vanished while its object arrived. Nothing of the object is left on disk."""


class SpoolFull(DicomIoError):
    """The spool's file system or quota is exhausted. Nothing of the refused object is left on disk."""


class SpoolUnavailable(DicomIoError):
    """The storage that several hosts share does not answer, or does not confirm what it was given.

    Nothing is known to be stored, and nothing to be missing.
    """


class TransactionInUse(DicomIoError):
    """The Transaction UID belongs to an earlier request, of another requestor or for other instances."""


class PeerFault(DicomIoError):
    """A report could not be handed over, or a question not answered.

    `partly`: some of the report's objects are, or may be, at the peer all the same. `connected`: there was an
    association. `status`: the DIMSE status that the peer answered with, where there was one.
    """

    partly = False
    connected = True
    status: int | None = None


class PeerUnavailable(PeerFault):
    """The peer cannot be reached, is busy, or is out of resources. Trying again later is right."""


class PeerRefused(PeerFault):
    """The peer understood and said no. Trying again changes nothing until a person has acted."""
