"""Stock pynetdicom at its own defaults: encoded bytes written by the handler, PDU 16382, no fsync, no ledger."""

import sys
from pathlib import Path

from pynetdicom import AE, evt

from dicom_io.spool import part10_head


def main() -> None:
    port, folder = int(sys.argv[1]), Path(sys.argv[2])

    def store(event: evt.Event) -> int:
        request = event.request
        instance = str(request.AffectedSOPInstanceUID)
        with (folder / f"{instance}.dcm").open("wb") as file:
            file.write(part10_head(str(request.AffectedSOPClassUID), instance, str(event.context.transfer_syntax)))
            file.write(request.DataSet.getbuffer())
        return 0

    ae = AE("OSTEON")
    ae.maximum_associations = 300
    ae.network_timeout = 600
    ae.add_supported_context("1.2.840.10008.1.1")
    ae.add_supported_context("1.2.840.10008.5.1.4.1.1.1.1")
    ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])


if __name__ == "__main__":
    main()
