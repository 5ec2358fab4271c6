"""When an X.509 certificate ends. Python's `ssl` tells it only of a peer's certificate, so the DER is walked here.

RFC 5280 4.1: Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version, serial, signature, issuer,
validity SEQUENCE { notBefore, notAfter }, ... } ... }. Nothing is verified; OpenSSL does that.
"""

from __future__ import annotations

import datetime as dt
import re
import ssl
from typing import Final

_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\s*", re.DOTALL)
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_LONG_FORM: Final = 0x80
_FIELDS_BEFORE_VALIDITY: Final = 3
"""Serial number, signature algorithm, issuer."""


class CertificateUnreadable(Exception):
    """The text holds no certificate that can be walked."""


def expires_at(pem: str) -> dt.datetime:
    """End of validity (notAfter) of the first certificate in `pem`, aware, UTC.

    Raises:
        CertificateUnreadable: there is none.

    """
    found = _PEM.search(pem)
    if found is None:
        msg = "no PEM certificate"
        raise CertificateUnreadable(msg)
    try:
        return _not_after(ssl.PEM_cert_to_DER_cert(found.group()))
    except (ValueError, IndexError) as error:
        msg = "the certificate's DER encoding is damaged"
        raise CertificateUnreadable(msg) from error


def _not_after(der: bytes) -> dt.datetime:
    _, certificate, _ = _element(der)
    _, rest, _ = _element(certificate)
    if rest[0] == _VERSION:
        _, _, rest = _element(rest)
    for _ in range(_FIELDS_BEFORE_VALIDITY):
        _, _, rest = _element(rest)
    _, validity, _ = _element(rest)
    _, _, validity = _element(validity)
    tag, value, _ = _element(validity)
    text = value.decode("ascii")
    # RFC 5280 4.1.2.5.1: two-digit years from 50 on are of the last century; `%y` would turn at 69.
    century = "" if tag != _UTC_TIME else "19" if text[:2] >= "50" else "20"
    return dt.datetime.strptime(century + text, "%Y%m%d%H%M%SZ").replace(tzinfo=dt.UTC)


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag, content, and what follows, of the first DER element."""
    length, start = data[1], 2
    if length & _LONG_FORM:
        start = 2 + (length & ~_LONG_FORM)
        length = int.from_bytes(data[2:start], "big")
    return data[0], data[start : start + length], data[start + length :]
