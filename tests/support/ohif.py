"""The prebuilt OHIF viewer from npm, unpacked into a cache, and a small server that puts it before an archive.

`npm pack` brings the package alone: its build is inside, the hundreds of modules it was built from are not needed. The
cross-origin headers are what the viewer's decoders need (SharedArrayBuffer).
"""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import shutil
import subprocess
import tarfile
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

VERSION = "3.12.10"
INTEGRITY = "0kuF66Mq9c9dMD++bUsTjMrJpXJwaZhz9B4uS244DawAjSkTwIYFU93pxPuRUQixaRi7QAHlF3Fe1qudBlZrmA=="
"""SHA-512 of the package, as a lock file holds it."""
_CONFIGURATION = """
window.config = {
  routerBasename: null, extensions: [], modes: [], showStudyList: true, maxNumberOfWebWorkers: 2,
  showWarningMessageForCrossOrigin: false, showCPUFallbackMessage: false, showErrorDetails: 'always',
  strictZSpacingForVolumeViewport: true, investigationalUseDialog: { option: 'never' },
  defaultDataSourceName: 'archive',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'archive',
    configuration: {
      friendlyName: 'archive', name: 'archive', imageRendering: 'wadors', thumbnailRendering: 'wadors',
      wadoUriRoot: location.origin + '/wado', qidoRoot: location.origin + '/dicom-web',
      wadoRoot: location.origin + '/dicom-web', qidoSupportsIncludeField: false, enableStudyLazyLoad: true,
      supportsFuzzyMatching: false, supportsWildcard: true, bulkDataURI: { enabled: true },
    },
  }],
};
"""


def viewer_files(cache: Path) -> Path | str:
    """Folder of the built viewer below `cache`; or why there is none."""
    if not shutil.which("npm"):
        return "npm is not installed (Debian: npm)"
    dist = cache / f"ohif-{VERSION}" / "package" / "dist"
    if (dist / "index.html").is_file():
        return dist
    cache.mkdir(parents=True, exist_ok=True)
    pack = ["npm", "pack", f"@ohif/app@{VERSION}", "--silent", "--pack-destination", str(cache)]
    done = subprocess.run(pack, capture_output=True, text=True, check=False, timeout=300, cwd=cache)
    archive = cache / f"ohif-app-{VERSION}.tgz"
    if done.returncode or not archive.is_file():
        return f"npm pack @ohif/app failed: {done.stderr.strip()[-200:]}"
    if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != INTEGRITY:
        return f"{archive.name} is not the package this test was written with (SHA-512 differs)"
    with tarfile.open(archive) as packed:
        packed.extractall(cache / f"ohif-{VERSION}", filter="data")
    archive.unlink()
    return dist


class ViewerServer:
    """Serves the viewer, and `/dicom-web` and `/wado` of an archive; use it as a context manager."""

    def __init__(self, dist: Path, archive: str) -> None:
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"dist": dist.resolve(), "archive": archive})
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    dist: Path
    archive: str
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith(("/dicom-web/", "/wado")):
            self._pass_on()
        elif self.path.startswith("/app-config.js"):
            self._answer(200, "text/javascript", _CONFIGURATION.encode())
        else:
            self._file()

    def log_message(self, *_: object) -> None:
        pass

    def _file(self) -> None:
        path = (self.dist / self.path.partition("?")[0].lstrip("/")).resolve()
        if not path.is_file() or self.dist not in path.parents:
            path = self.dist / "index.html"  # every other address is the viewer's own
        self._answer(200, mimetypes.guess_type(path.name)[0] or "application/octet-stream", path.read_bytes())

    def _pass_on(self) -> None:
        request = urllib.request.Request(self.archive + self.path)
        for name in ("Accept", "Host"):  # by the host the archive makes the addresses of bulk data
            if said := self.headers.get(name):
                request.add_header(name, said)
        try:
            with urllib.request.urlopen(request, timeout=60) as got:
                self._answer(got.status, got.headers.get("Content-Type", ""), got.read())
        except urllib.error.HTTPError as error:
            self._answer(error.code, "text/plain", error.read())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.end_headers()
        self.wfile.write(body)
