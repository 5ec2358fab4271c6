"""`osteon doctor`: looks at what reception, feeds and delivery need, and explains the latest rejections of the ledger.

Each line is `ok`, `warn` or `fail`, what was looked at, and the remedy. Nothing is changed, also no older ledger; no
image is touched, a destination gets a C-ECHO; a running node is not disturbed, and one that is not running leaves its
ports to be tried.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import ipaddress
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rich.console import Console

from config.code_file import code_table
from config.codes import CodeTableError
from config.hl7_feed import Mllp
from config.settings import Reception, Settings, SettingsError
from config.tls import ServerTls
from dicom_io.admission import LOOPBACK
from dicom_io.tls import make_context, validity_in_file
from dicom_io.transport_check import differences
from node import places
from node.active_model import active_bundle, refuse_simulated_product
from node.certificate_watch import URGENT_DAYS, WARN_DAYS
from node.contacts import ACCEPTED
from node.delivery_check import examine_delivery
from node.finding import Finding, Mark
from node.fleet_check import examine_fleet
from node.folder_check import examine_data_directory, examine_drop_folder
from node.peer_advice import advise
from node.receiver_check import examine_receivers
from node.site_verdicts import latest_verdict
from node.store import peers, postgresql
from node.store.errors import LedgerError, LedgerUnavailable
from node.store.migrate import is_current
from node.store.peers import Contact

LOOK_BACK = dt.timedelta(days=7)
SHOWN_REJECTIONS = 10


def run_doctor(settings: Settings) -> int:
    """Print every finding; 0 unless one is a failure."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    found = []
    for finding in examine(settings):
        console.print(f"{finding.mark.value:<4} {finding.what}" + (f" - {finding.remedy}" if finding.remedy else ""))
        found.append(finding)
    return int(any(finding.mark is Mark.FAIL for finding in found))


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at one thing after the other."""
    reception = settings.reception
    yield Finding(mark=Mark.OK, what=f"configuration is valid, AE title {reception.ae_title}")
    folder = settings.storage.data_dir
    running = _node_runs(folder)
    what = "a node is running on this data directory" if running else "no node is running on this data directory"
    yield Finding(mark=Mark.OK, what=what)
    if reception.plain:
        yield _port("reception.port", reception.host, reception.port, running=running)
    if reception.tls.enabled:
        yield _port("reception.tls.port", reception.host, reception.tls.port, running=running)
        yield _certificate(reception.tls)
    if not reception.plain and not reception.tls.enabled:
        yield Finding(
            mark=Mark.FAIL, what="reception.plain and reception.tls.enabled are both off", remedy="switch one on"
        )
    yield _receive_path(reception)
    yield from _who_can_come(reception)
    yield from _hl7(settings.clinical.mllp, running=running)
    yield _code_table(settings)
    yield from _all_the_same("clinical.csv.folder", lambda: examine_drop_folder(settings.clinical.csv))
    yield from examine_delivery(settings)
    yield from examine_receivers(settings.results)
    yield from _all_the_same("storage.data_dir", lambda: examine_data_directory(folder, reception))
    yield from _all_the_same("the ledger", lambda: _ledger(settings))
    yield from _all_the_same("what a fleet shares", lambda: examine_fleet(settings))
    yield from _all_the_same("the model bundle", lambda: (_bundle(settings),))


def _all_the_same(what: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Look, and go on with the next thing whatever came of it."""
    try:
        yield from look()
    except Exception as error:  # noqa: BLE001 - a damaged file has a library's own error, and must hide no other finding
        said = (str(error).splitlines() or [""])[0]
        yield Finding(mark=Mark.FAIL, what=f"{what} cannot be looked at: {type(error).__name__}: {said}")


def _node_runs(folder: Path) -> bool:
    """Whether the listener's lock is held; it is taken for a moment only where it is free."""
    try:
        with (folder / "listener.lock").open("r+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _port(key: str, host: str, port: int, *, running: bool) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if running:
                return Finding(mark=Mark.OK, what=f"{key} {port} on {host} is taken, as it should be: the node runs")
            remedy = "stop the other program or change the port; for `Cannot assign` correct the host beside it"
            return Finding(mark=Mark.FAIL, what=f"{key} {port} on {host}: {error.strerror}", remedy=remedy)
    if running and port:
        remedy = "the node runs with another configuration; restart it"
        return Finding(mark=Mark.WARN, what=f"{key} {port} on {host} is free although a node runs", remedy=remedy)
    return Finding(mark=Mark.OK, what=f"{key} {port} on {host} can be listened on")


def _certificate(tls: ServerTls) -> Finding:
    try:
        make_context(tls)
        validity = validity_in_file(tls)
    except SettingsError as error:
        what, _, remedy = str(error).partition("; ")
        return Finding(mark=Mark.FAIL, what=what, remedy=remedy)
    now = dt.datetime.now(dt.UTC)
    days = validity.days_left(now)
    what = f"the TLS certificate has {days} days left ({tls.where})"
    remedy = f"renew {tls.where}.certificate; it is taken over without a restart"
    if validity.begins > now:
        what = f"the TLS certificate is not valid before {validity.begins:%Y-%m-%d %H:%M} UTC ({tls.where})"
        return Finding(mark=Mark.FAIL, what=what, remedy=remedy)
    if days < 0:
        return Finding(
            mark=Mark.FAIL, what=f"the TLS certificate expired {-days} days ago ({tls.where})", remedy=remedy
        )
    if days <= WARN_DAYS:
        return Finding(mark=Mark.WARN, what=what, remedy=f"{remedy}{', now' if days <= URGENT_DAYS else ''}")
    return Finding(mark=Mark.OK, what=what)


def _who_can_come(reception: Reception) -> Iterator[Finding]:
    local = _all_local(network for peer in reception.peers for network in peer.networks)
    if not reception.peers:
        remedy = "add [[reception.peers]] for each sender, and set reception.host"
        yield Finding(mark=Mark.WARN, what="reception.peers is empty: only this machine can send", remedy=remedy)
    elif not local and _is_loopback(reception.host):
        remedy = 'write reception.host = "0.0.0.0" or the address of the hospital network'
        what = f"reception.peers names senders elsewhere, but the node listens on {reception.host} only"
        yield Finding(mark=Mark.FAIL, what=what, remedy=remedy)
    else:
        yield Finding(mark=Mark.OK, what=f"{len(reception.peers)} senders are listed")


def _hl7(mllp: Mllp, *, running: bool) -> Iterator[Finding]:
    """Port and certificate of the feed, and whether address and networks fit each other."""
    if not mllp.enabled:
        yield Finding(mark=Mark.OK, what="clinical.mllp.enabled is off: no HL7")
        return
    yield _port("clinical.mllp.port", mllp.host, mllp.port, running=running)
    if mllp.tls.enabled:
        yield _certificate(mllp.tls)
    if _all_local(mllp.networks) and not _is_loopback(mllp.host):
        what = f"HL7 is listened for on {mllp.host}, but clinical.mllp.networks lets this machine in only"
        yield Finding(mark=Mark.FAIL, what=what, remedy="add the senders' networks to clinical.mllp.networks")
    elif not _all_local(mllp.networks) and _is_loopback(mllp.host):
        what = f"clinical.mllp.networks names networks elsewhere, but HL7 is listened for on {mllp.host} only"
        yield Finding(mark=Mark.FAIL, what=what, remedy='write clinical.mllp.host = "0.0.0.0" or the node\'s address')


def _all_local(networks: Iterable[str]) -> bool:
    """Whether nobody but this machine is in these networks."""
    parsed = [ipaddress.ip_network(network) for network in networks]
    return all(any(n.version == loop.version and n.subnet_of(loop) for loop in LOOPBACK) for n in parsed)  # type: ignore[arg-type]


def _code_table(settings: Settings) -> Finding:
    codes = settings.clinical.codes
    try:
        version = code_table(codes.file).version
    except CodeTableError as error:
        return Finding(mark=Mark.FAIL, what=str(error), remedy="correct clinical.codes.file")
    if codes.confirmed(version):
        return Finding(mark=Mark.OK, what=f"the clinical code table {version} is confirmed by {codes.confirmed_by}")
    remedy = "print it with `osteon codes`, have it checked, and set clinical.codes.confirmed_by and confirmed_version"
    if not codes.confirmed_by:
        what = "nobody has confirmed the clinical code table: clinical data are stored, results are image-only"
    else:
        what = f"the clinical code table is {version} now, confirmed was {codes.confirmed_version or 'no version'}: "
        what += "results are image-only"
    return Finding(mark=Mark.WARN, what=what, remedy=remedy)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ledger(settings: Settings) -> Iterator[Finding]:
    if not places.has_ledger(settings):
        yield Finding(mark=Mark.OK, what="no ledger yet; the node makes one at its first start")
        return
    try:
        ledger = places.look_into_ledger(settings)
        with ledger.read() as c:
            contacts = peers.listed(c) if is_current(c, name=ledger.url) else None
            faults = postgresql.faults(c)
        engine = ledger.engine()
        ledger.close()
    except (LedgerError, LedgerUnavailable, SettingsError) as error:
        what, _, remedy = str(error).partition("; ")
        remedy = remedy or "correct storage.data_dir or storage.database_url, or start the database"
        yield Finding(mark=Mark.FAIL, what=what, remedy=remedy)
        return
    yield Finding(mark=Mark.OK, what=f"the ledger opens: {engine}", remedy=_wal_remedy(engine))
    yield from (Finding(mark=Mark.FAIL, what=fault.what, remedy=fault.remedy) for fault in faults)
    if contacts is None:
        remedy = "the node's next start makes them; take a backup first (operate.md)"
        yield Finding(mark=Mark.WARN, what="the ledger lacks tables of this release", remedy=remedy)
    yield from _rejections(contacts or (), settings.reception)


def _wal_remedy(engine: str) -> str:
    """What a slow but safe journal is for, said without alarm."""
    if "TRUNCATE" not in engine:
        return ""
    return "safe, some fsyncs slower: `pip install pysqlite3` brings a SQLite of 3.51.3 or newer where a wheel exists"


def _receive_path(reception: Reception) -> Finding:
    """An unknown pynetdicom serves by its own code: slower, so it should be known."""
    if reception.fast_path == "off":
        what = 'reception.fast_path is "off": pynetdicom\'s own receive path serves'
        return Finding(mark=Mark.WARN, what=what, remedy='write reception.fast_path = "auto" unless there is a reason')
    if reasons := differences():
        what = f"pynetdicom's own receive path serves, the node's does not fit it: {', '.join(reasons)}"
        return Finding(mark=Mark.WARN, what=what, remedy="install the version that deploy/constraints.txt names")
    return Finding(mark=Mark.OK, what="the node's own receive path fits this pynetdicom")


def _rejections(contacts: tuple[Contact, ...], reception: Reception) -> Iterator[Finding]:
    since = dt.datetime.now(dt.UTC) - LOOK_BACK
    recent = [one for one in contacts if one.outcome != ACCEPTED and one.last_at >= since]
    for contact in recent[:SHOWN_REJECTIONS]:
        advice = advise(contact, reception)
        toml = f": {' / '.join(advice.toml.splitlines())}" if advice.toml else ""
        what = f"{contact.outcome} {contact.count}x, last {contact.last_at:%Y-%m-%d %H:%M:%S} UTC: {advice.problem}"
        yield Finding(mark=Mark.WARN, what=what, remedy=advice.remedy + toml)
    if len(recent) > SHOWN_REJECTIONS:
        what = f"{len(recent) - SHOWN_REJECTIONS} more kinds of trouble in the last {LOOK_BACK.days} days"
        yield Finding(mark=Mark.WARN, what=what, remedy="see `osteon peers --trouble`")


def _bundle(settings: Settings) -> Finding:
    from model.bundle import BundleError, load_bundle  # noqa: PLC0415 - imports torch, which the rest does without
    from model.screener import DEMO_BUNDLE  # noqa: PLC0415

    try:
        folder = active_bundle(settings) or DEMO_BUNDLE
        bundle = load_bundle(folder)
        manifest = bundle.manifest
        refuse_simulated_product(settings.report, simulated=manifest.training.simulated, bundle=manifest.bundle_id)
    except (BundleError, SettingsError, LedgerError, LedgerUnavailable) as error:
        what, _, remedy = str(error).partition("; ")
        return Finding(mark=Mark.FAIL, what=f"model bundle: {what}", remedy=remedy)
    demo = folder == DEMO_BUNDLE
    what = f"model bundle {bundle.manifest.name} {bundle.manifest.version} loads, its hashes are right"
    if demo:
        return Finding(
            mark=Mark.WARN, what=what, remedy="demonstration only; `osteon model activate` lets your own serve"
        )
    verdict = latest_verdict(settings, bundle.manifest.bundle_id)
    if verdict is None or not verdict.accepted:
        found = "none" if verdict is None else verdict.words
        remedy = "for research or silent comparison only; measure it with `osteon evaluate --site`"
        return Finding(mark=Mark.WARN, what=f"{what}; verdict of this site: {found}", remedy=remedy)
    return Finding(mark=Mark.OK, what=f"{what}; verdict of this site: {verdict.words}")
