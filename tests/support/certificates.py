"""Certificates for tests, made on the fly with the `openssl` program: an authority, and what it signs."""

from __future__ import annotations

import datetime as dt
import re
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support.tools import require_tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its key, both PEM."""

    certificate: Path
    key: Path


def authority(folder: Path, name: str = "authority") -> Pair:
    """A self-signed authority."""
    folder.mkdir(parents=True, exist_ok=True)
    pair = Pair(certificate=folder / f"{name}.pem", key=folder / f"{name}.key")
    _openssl("req", "-x509", *_new_key(pair, name), "-days", "30", "-out", str(pair.certificate))
    return pair


def signed(folder: Path, by: Pair, name: str = "localhost", *, days: int = 90) -> Pair:
    """A certificate for 127.0.0.1 and `name`, valid for `days`."""
    pair = Pair(certificate=folder / f"{name}.pem", key=folder / f"{name}.key")
    request, extra = folder / f"{name}.csr", folder / f"{name}.ext"
    _openssl("req", *_new_key(pair, name), "-out", str(request))
    extra.write_text(f"subjectAltName=DNS:{name},IP:127.0.0.1\n")
    signer = ["-CA", str(by.certificate), "-CAkey", str(by.key), "-CAcreateserial"]
    validity = ["-days", str(days), "-extfile", str(extra)]
    _openssl("x509", "-req", "-in", str(request), *signer, *validity, "-out", str(pair.certificate))
    return pair


def redated(pair: Pair, *, begins: dt.datetime, ends: dt.datetime) -> Pair:
    """The same certificate with other dates, `openssl` 3.0 makes none; only who verifies its signature will object."""
    der, times = ssl.PEM_cert_to_DER_cert(pair.certificate.read_text()), re.compile(rb"\x17\x0d\d{12}Z\x17\x0d\d{12}Z")
    fresh = b"".join(b"\x17\x0d" + when.strftime("%y%m%d%H%M%SZ").encode() for when in (begins, ends))
    assert len(times.findall(der)) == 1
    changed = Pair(certificate=pair.certificate.with_suffix(".redated.pem"), key=pair.key)
    changed.certificate.write_text(ssl.DER_cert_to_PEM_cert(times.sub(fresh, der)))
    return changed


def trusting(by: Pair) -> ssl.SSLContext:
    """What a client that trusts this authority speaks TLS with, whatever the certificate's name."""
    context = ssl.create_default_context(cafile=str(by.certificate))
    context.check_hostname = False
    return context


def _new_key(pair: Pair, name: str) -> list[str]:
    return ["-newkey", "rsa:2048", "-nodes", "-keyout", str(pair.key), "-subj", f"/CN={name}"]


def _openssl(*arguments: str) -> None:
    subprocess.run([require_tool("openssl"), *arguments], check=True, capture_output=True, timeout=60)
