"""The PACS of `bench-e2e`: takes results and says when each study's SR was accepted.

`python -m bench.e2e_sink PORT` prints "<unix seconds> <study UID>" for every SR, after its answer is decided.
"""

from __future__ import annotations

import os
import sys
import time
from io import BytesIO

from bench.e2e_inference import SINK
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import EnhancedSRStorage, SecondaryCaptureImageStorage, Verification

_STUDY = 0x0020000D


def main() -> None:
    ae = AE(SINK)
    ae.maximum_associations = 100
    for sop_class in (EnhancedSRStorage, SecondaryCaptureImageStorage, Verification):
        ae.add_supported_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless])
    ae.start_server(("127.0.0.1", int(sys.argv[1])), evt_handlers=[(evt.EVT_C_STORE, _stored)])


def _stored(event: Event) -> int:
    if event.request.AffectedSOPClassUID == EnhancedSRStorage:
        dataset = dcmread(BytesIO(event.encoded_dataset()), specific_tags=[_STUDY])
        # One write: two associations at once, and `print` writes the end of its line by itself.
        os.write(1, f"{time.time():.6f} {dataset.StudyInstanceUID}\n".encode())
    return 0x0000


if __name__ == "__main__":
    main()
