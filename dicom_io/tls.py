"""The node's side of TLS: profile, files, and how long the certificate lasts.

BCP 195 (RFC 8996, RFC 9325) as PS3.15 B.12 asks: TLS 1.2 with ECDHE and AES-GCM suites, and TLS 1.3; no compression, no
renegotiation, the node's order of suites. With `client_ca` every client must show a certificate of these authorities.
Files are looked at on each handshake and read again when they changed, so a renewed certificate needs no restart; a
broken renewal is logged and the last good one goes on.
"""

from __future__ import annotations

import datetime as dt
import ssl
import threading
from pathlib import Path
from typing import Final, Literal

import structlog

from config.settings import SettingsError
from config.tls import ServerTls
from dicom_io.certificate import CertificateUnreadable, expires_at

_SUITES: Final = "ECDHE+AESGCM"
"""OpenSSL's name for the four AEAD suites RFC 9325 4.2 recommends for TLS 1.2; those of TLS 1.3 are all allowed."""

_log = structlog.get_logger()


class TlsFiles:
    """Gives the context of the next handshake. Safe for many threads.

    Raises:
        SettingsError: a file is missing, unreadable or does not fit the other; names the setting.

    """

    def __init__(self, settings: ServerTls) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._stamp = _stamp(settings)
        self._context = make_context(settings)

    def context(self) -> ssl.SSLContext:
        """Return the context of the files as they are now."""
        with self._lock:
            stamp = _stamp(self._settings)
            if stamp != self._stamp:
                self._stamp = stamp
                self._reload()
            return self._context

    def _reload(self) -> None:
        try:
            self._context = make_context(self._settings)
        except SettingsError as error:
            _log.error("tls.reload_failed", error=str(error), remedy="the last good certificate stays in use")
        else:
            _log.info("tls.reloaded", days_left=days_left(self._settings))


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


def days_left(settings: ServerTls, now: dt.datetime | None = None) -> int:
    """Whole days until the certificate expires, negative once it has; SettingsError if it cannot be read."""
    certificate = _required(settings, "certificate")
    try:
        end = expires_at(certificate.read_text(encoding="ascii", errors="replace"))
    except CertificateUnreadable as error:
        msg = f"{settings.where}.certificate: {certificate} holds no PEM certificate; give the node's certificate first"
        raise SettingsError(msg) from error
    return (end - (now or dt.datetime.now(dt.UTC))) // dt.timedelta(days=1)


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
    where = settings.where
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{where}.key: {key} does not belong to {certificate}; give the key the certificate was made for"
    if "-----BEGIN CERTIFICATE-----" not in certificate.read_text(encoding="ascii", errors="replace"):
        return f"{where}.certificate: {certificate} holds no PEM certificate; give the node's certificate first"
    return f"{where}.key: {key} holds no usable PEM key ({error.reason}); give one without a passphrase"


def _no_passphrase() -> str:
    """Stand in for a passphrase: without it OpenSSL would ask at the terminal, and a service would hang there."""
    return ""


def _stamp(settings: ServerTls) -> tuple[tuple[int, int, int] | None, ...]:
    """What changes when a file is replaced or rewritten."""
    return tuple(_file_stamp(path) for path in (settings.certificate, settings.key, settings.client_ca))


def _file_stamp(path: Path | None) -> tuple[int, int, int] | None:
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino) if status else None
