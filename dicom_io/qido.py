"""QIDO-RS (PS3.18 10.6): the same questions as `query_scu`, over HTTP, to archives that speak DICOMweb.

The standard library's HTTP client is enough for one GET: no session, no redirects to elsewhere with our credentials.
"""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydicom.dataset import Dataset

from config.settings import Delivery, Destination
from dicom_io.errors import PeerRefused, PeerUnavailable
from dicom_io.query_scu import Level

_RESOURCES: Final[dict[Level, str]] = {"STUDY": "studies", "SERIES": "series", "IMAGE": "instances"}
_NO_CONTENT: Final = 204
_OK: Final = 200
_TRY_AGAIN: Final = (408, 425, 429, *range(500, 600))
_LARGEST: Final = 256 << 20


def search(
    to: Destination,
    settings: Delivery,
    level: Level,
    keys: Mapping[str, str | Sequence[str]],
    *,
    limit: int | None = None,
) -> tuple[Dataset, ...]:
    """Return what matches `keys`, by keyword; an empty value asks for that attribute to be returned.

    Raises:
        PeerUnavailable: not reachable, busy, or its answer cannot be read.
        PeerRefused: no `qido_url`, or the service declined (no such path, not authorised).

    """
    address = urllib.parse.urlsplit(to.qido_url)
    if address.scheme not in ("http", "https") or not address.hostname:
        msg = f"{to.name}: qido_url is no http(s) address"
        raise PeerRefused(msg)
    query = [
        ("includefield" if value == "" else key, key if value == "" else _text(value)) for key, value in keys.items()
    ]
    if limit is not None:
        query.append(("limit", str(limit)))
    path = f"{address.path.rstrip('/')}/{_RESOURCES[level]}?{urllib.parse.urlencode(query)}"
    try:
        status, body = _get(address, path, to, settings)
        if status == _NO_CONTENT:
            return ()
        if status == _OK:
            return tuple(Dataset.from_json(_plain(one)) for one in json.loads(body))
    except (OSError, http.client.HTTPException, ValueError) as error:
        fault = PeerUnavailable(f"{to.name}: QIDO-RS at {address.hostname}: {type(error).__name__}")
        fault.connected = not isinstance(error, OSError)
        raise fault from error
    detail = f"{to.name}: QIDO-RS answered {status}"
    raise PeerUnavailable(detail) if status in _TRY_AGAIN else PeerRefused(detail)


def _get(address: urllib.parse.SplitResult, path: str, to: Destination, settings: Delivery) -> tuple[int, bytes]:
    host, timeout = address.hostname or "", settings.dimse_timeout
    connection = (
        http.client.HTTPSConnection(host, address.port, timeout=timeout, context=ssl.create_default_context())
        if address.scheme == "https"
        else http.client.HTTPConnection(host, address.port, timeout=timeout)
    )
    headers = {"Accept": "application/dicom+json"}
    if to.qido_authorization is not None:
        headers["Authorization"] = to.qido_authorization.read_text(encoding="utf-8").strip()
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(_LARGEST)
    finally:
        connection.close()


def _text(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else ",".join(value)


def _plain(item: Any) -> dict[str, Any]:
    if not isinstance(item, dict):
        msg = "no DICOM JSON object"
        raise ValueError(msg)  # noqa: TRY004 - what a service answers is a value, however wrong
    return item
