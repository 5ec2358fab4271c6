"""The node's side of TLS: profile, files, and how long the certificate in use lasts.

BCP 195 (RFC 8996, RFC 9325) as PS3.15 B.12 asks: TLS 1.2 with ECDHE and AES-GCM suites, and TLS 1.3; no compression, no
renegotiation, the node's order of suites. With `client_ca` every client must show a certificate of these authorities.
Files are looked at on each handshake and read again when they changed, so a renewed certificate needs no restart; one
that cannot be used, or is not valid now while the last one is, is logged and the last one goes on.
"""

from __future__ import annotations

import datetime as dt
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import structlog

from config.settings import SettingsError
from config.tls import ServerTls
from dicom_io.certificate import CertificateUnreadable, Validity, validity

_SUITES: Final = "ECDHE+AESGCM"
"""OpenSSL's name for the four AEAD suites RFC 9325 4.2 recommends for TLS 1.2; those of TLS 1.3 are all allowed."""

_Stamp = tuple[tuple[int, int, int, int] | None, ...]

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class InUse:
    """What clients are shown now."""

    validity: Validity
    refused: str = ""
    """Why the files as they are now are not in use, naming the setting; empty where they are."""


class TlsFiles:
    """Gives the context of the next handshake. Safe for many threads.

    Raises:
        SettingsError: a file is missing, unreadable or does not fit the other; names the setting.

    """

    def __init__(self, settings: ServerTls) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._stamp = _stamp(settings)
        self._context, self._validity = _load(settings)
        self._refused = ""

    def context(self) -> ssl.SSLContext:
        """Return the context of the files as they are now."""
        with self._lock:
            if _stamp(self._settings) != self._stamp:
                self._reload()
            return self._context

    def in_use(self) -> InUse:
        """Look at the files as a handshake does, again also at those refused before: their time may have come."""
        with self._lock:
            if self._refused or _stamp(self._settings) != self._stamp:
                self._reload()
            return InUse(validity=self._validity, refused=self._refused)

    def _reload(self) -> None:
        self._stamp = _stamp(self._settings)  # before they are read: what changes meanwhile is read again
        now = dt.datetime.now(dt.UTC)
        try:
            context, fresh = _load(self._settings)
            if self._validity.holds(now):
                _valid_now(self._settings, fresh, now)
        except (SettingsError, OSError) as error:  # OSError: a file that goes while it is being read
            if str(error) != self._refused:
                _log.error("tls.reload_failed", error=str(error), remedy="the last good certificate stays in use")
            self._refused = str(error)
            return
        self._context, self._validity, self._refused = context, fresh, ""
        report = _log.info if fresh.holds(now) else _log.error
        report("tls.reloaded", days_left=fresh.days_left(now), begins=fresh.begins.isoformat())


def make_context(settings: ServerTls) -> ssl.SSLContext:
    """Build the server context; SettingsError as `TlsFiles`."""
    certificate, key = _required(settings, "certificate"), _required(settings, "key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_SUITES)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except ssl.SSLError as error:
        raise SettingsError(_why_not_loaded(error, settings, certificate, key)) from error
    if settings.client_ca is not None:
        client_ca = _required(settings, "client_ca")
        try:
            context.load_verify_locations(client_ca)
        except ssl.SSLError as error:
            where = f"{settings.where}.client_ca"
            msg = f"{where}: {client_ca} holds no PEM certificate; give the authorities' certificates"
            raise SettingsError(msg) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def validity_in_file(settings: ServerTls) -> Validity:
    """When the certificate in the file is valid, be it in use or not; SettingsError if it cannot be read."""
    certificate = _required(settings, "certificate")
    try:
        return validity(certificate.read_text(encoding="ascii", errors="replace"))
    except CertificateUnreadable as error:
        raise SettingsError(_no_certificate(settings, certificate)) from error


def why_refused(error: Exception) -> str:
    """Why a handshake failed, in OpenSSL's words where they are; never bytes of the peer.

    A client's certificate is one reason to OpenSSL whether it expired or nobody knows its authority: the words differ.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{error.reason}: {error.verify_message}"
    return (error.reason if isinstance(error, ssl.SSLError) else None) or type(error).__name__


def _load(settings: ServerTls) -> tuple[ssl.SSLContext, Validity]:
    return make_context(settings), validity_in_file(settings)


def _valid_now(settings: ServerTls, fresh: Validity, now: dt.datetime) -> None:
    """Raise SettingsError where `fresh` is not valid now."""
    if fresh.holds(now):
        return
    says = f"is not valid before {fresh.begins:%Y-%m-%d %H:%M} UTC" if now < fresh.begins else "has expired"
    msg = f"{settings.where}.certificate: {settings.certificate} {says}; give one that is valid now, or set the clock"
    raise SettingsError(msg)


def _required(settings: ServerTls, key: Literal["certificate", "key", "client_ca"]) -> Path:
    path: Path | None = getattr(settings, key)
    if path is None:
        msg = f"{settings.where}.{key}: is missing; name a PEM file, or set {settings.where}.enabled = false"
        raise SettingsError(msg)
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        msg = f"{settings.where}.{key}: {path} cannot be read ({error.strerror}); give a PEM file the node may read"
        raise SettingsError(msg) from error


def _why_not_loaded(error: ssl.SSLError, settings: ServerTls, certificate: Path, key: Path) -> str:
    """The certificate is judged alone first: OpenSSL names the file in none of its reasons."""
    where = settings.where
    if error.reason in {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"}:
        return f"{where}.key: {key} does not belong to {certificate}; give the key the certificate was made for"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificate)
    except ssl.SSLError:
        return _no_certificate(settings, certificate)
    return f"{where}.key: {key} holds no usable PEM key ({error.reason}); give one without a passphrase"


def _no_certificate(settings: ServerTls, certificate: Path) -> str:
    return (
        f"{settings.where}.certificate: {certificate} holds no PEM certificate that is whole; "
        "give the node's certificate first, then its chain"
    )


def _no_passphrase() -> str:
    """Stand in for a passphrase: without it OpenSSL would ask at the terminal, and a service would hang there."""
    return ""


def _stamp(settings: ServerTls) -> _Stamp:
    """What changes when a file is replaced, rewritten, or may be read at last."""
    return tuple(_file_stamp(path) for path in (settings.certificate, settings.key, settings.client_ca))


def _file_stamp(path: Path | None) -> tuple[int, int, int, int] | None:
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino) if status else None
