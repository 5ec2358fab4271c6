"""When an X.509 certificate is valid. Python's `ssl` tells it only of a peer's certificate, so the DER is walked here.

RFC 5280 4.1: Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version, serial, signature, issuer,
validity SEQUENCE { notBefore, notAfter }, ... } ... }. Nothing is verified; OpenSSL does that.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
from dataclasses import dataclass
from typing import Final

_PEM: Final = re.compile(
    r"-----BEGIN (?P<label>(?:X509 |TRUSTED )?CERTIFICATE)-----(?P<body>[^-]+)-----END (?P=label)-----"
)
"""The three labels OpenSSL takes."""
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_LONG_FORM: Final = 0x80
_FIELDS_BEFORE_VALIDITY: Final = 3
"""Serial number, signature algorithm, issuer."""


class CertificateUnreadable(Exception):
    """The text holds no certificate that can be walked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """From when until when a certificate is valid (RFC 5280 4.1.2.5), both ends included, aware, UTC."""

    begins: dt.datetime
    """notBefore."""
    ends: dt.datetime
    """notAfter."""

    def holds(self, now: dt.datetime) -> bool:
        """Whether it is valid at `now`."""
        return self.begins <= now <= self.ends

    def days_left(self, now: dt.datetime) -> int:
        """Whole days from `now` until it expires, negative once it has."""
        return (self.ends - now) // dt.timedelta(days=1)


def validity(pem: str) -> Validity:
    """When the first certificate in `pem` is valid.

    Raises:
        CertificateUnreadable: there is none, or it is cut short.

    """
    found = _PEM.search(pem)
    if found is None:
        msg = "no PEM certificate"
        raise CertificateUnreadable(msg)
    try:
        return _validity(base64.b64decode("".join(found["body"].split()), validate=True))
    except (ValueError, IndexError) as error:
        msg = "the certificate's DER encoding is damaged"
        raise CertificateUnreadable(msg) from error


def _validity(der: bytes) -> Validity:
    _, certificate, _ = _element(der)
    _, rest, _ = _element(certificate)
    if rest[0] == _VERSION:
        _, _, rest = _element(rest)
    for _ in range(_FIELDS_BEFORE_VALIDITY):
        _, _, rest = _element(rest)
    _, times, _ = _element(rest)
    begins, times = _time(times)
    ends, _ = _time(times)
    return Validity(begins=begins, ends=ends)


def _time(data: bytes) -> tuple[dt.datetime, bytes]:
    """A Time of RFC 5280 4.1, and what follows it."""
    tag, value, rest = _element(data)
    text = value.decode("ascii")
    # RFC 5280 4.1.2.5.1: two-digit years from 50 on are of the last century; `%y` would turn at 69.
    century = "" if tag != _UTC_TIME else "19" if text[:2] >= "50" else "20"
    return dt.datetime.strptime(century + text, "%Y%m%d%H%M%SZ").replace(tzinfo=dt.UTC), rest


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag, content, and what follows, of the first DER element. ValueError: it is cut short."""
    length, start = data[1], 2
    if length & _LONG_FORM:
        start = 2 + (length & ~_LONG_FORM)
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length:
        raise ValueError
    return data[0], data[start : start + length], data[start + length :]
