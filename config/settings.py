"""Every setting of the node: one frozen model per group, read once at start from one TOML file and passed down.

Nobody reads the environment or a file below `node.cli`. An unknown key, a wrong type or a value out of range is a
`SettingsError` with one line that names the key and the remedy. `config/defaults.toml` shows every default; a test
keeps it equal to this module.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, Self, get_args
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field, ValidationError, model_validator

from config.clinical import Clinical
from config.fields import (
    AeTitle,
    CharacterSets,
    DatabaseUrl,
    FilePath,
    Group,
    LongString,
    Network,
    OptionalPath,
    Port,
    Seconds,
    TimeZone,
    Workers,
)
from config.fleet import Fleet
from config.hl7_out import ResultsOut
from config.reconciliation import Reconciliation
from config.report import Report
from config.retention import Retention
from config.tls import ServerTls

_NEVER_QUOTED: Final = frozenset({"database_url", "broker", "spool_endpoint", "qido_url"})
"""URLs, which may hold a password."""


class SettingsError(Exception):
    """The configuration cannot be used. The message is one line: which key, what is wrong, what to write instead."""


class Site(Group):
    """Facts about the hospital."""

    name: LongString = "Unnamed site"
    """Institution name (0008,0080) of every object the node makes; at most 64 characters, no backslash."""
    timezone: TimeZone = "UTC"
    """IANA zone of DICOM and HL7 times that carry no offset."""

    @property
    def zone(self) -> ZoneInfo:
        """`timezone` as an object."""
        return ZoneInfo(self.timezone)


class Storage(Group):
    """Where the node keeps what it must not lose. A local disk, never NFS or SMB: SQLite's locks do not hold there."""

    data_dir: FilePath = Path("osteon-data")
    """Ledger, HL7 inbox, spool, audit trail and the site's model bundles; relative to the working directory."""
    database_url: DatabaseUrl = ""
    """SQLAlchemy URL of ledger and inbox; empty means SQLite in `data_dir`. `postgresql+psycopg://...` for many hosts
    (needs the `postgresql` extra)."""


class Peer(Group):
    """One sender that may associate with the node."""

    ae_title: AeTitle
    """Calling AE title, compared exactly."""
    networks: tuple[Network, ...] = ("127.0.0.0/8", "::1/128")
    """CIDR networks the sender may connect from."""
    commitment_port: Port | None = None
    """TCP port at the sender's address that awaits its N-EVENT-REPORT (PS3.4 J.3.3); none means it keeps its
    association open for that."""
    issuer: str = ""
    """Assigning authority assumed for images of this sender that state none; it narrows a match, never proves one."""
    charset: CharacterSets = ()
    """Specific Character Set (0008,0005) in which this sender's headers really are, where it declares a wrong one, e.g.
    `["GBK"]`."""


class ReceptionTls(ServerTls):
    """DICOM over TLS (PS3.15 B.12, BCP 195: TLS 1.2 with AEAD-ECDHE suites, and 1.3), on a port of its own."""

    where: ClassVar[str] = "reception.tls"
    port: Port = 2762
    """IANA port of dicom-tls; 0 takes a free one (tests). With `reception.plain = false` it is the only one."""


class Reception(Group):
    """The Storage SCP."""

    ae_title: AeTitle = "OSTEON"
    """Called AE title the node answers to."""
    host: str = "127.0.0.1"
    """Address to listen on. Loopback until someone decides otherwise; `0.0.0.0` for all IPv4 interfaces."""
    port: Port = 11112
    """TCP port; 0 takes a free one (tests)."""
    peers: tuple[Peer, ...] = ()
    """Allowed senders. Empty means: any AE title, from loopback only."""
    plain: bool = True
    """Listen without TLS on `port`. Off where every sender speaks TLS."""
    tls: ReceptionTls = ReceptionTls()
    """Listen with TLS."""
    maximum_associations: Annotated[int, Field(ge=1, le=1000)] = 25
    """Simultaneous associations; more are rejected transiently, so senders try again."""
    maximum_associations_per_peer: Annotated[int, Field(ge=1, le=1000)] = 10
    """Of these, for one address; so that one sender with idle associations starves no other."""
    fast_path: Literal["auto", "off"] = "auto"
    """The node's own receive path, where its self-test at start passes; `off` uses pynetdicom's own code only."""
    maximum_pdu_bytes: Annotated[int, Field(ge=4096, le=1 << 20)] = 1 << 20
    """Largest PDU accepted. With the stock receive path 128 KiB at most are offered: measured fastest there."""
    maximum_object_mb: Annotated[int, Field(ge=1, le=65_536)] = 512
    """Larger objects are answered 0xA700 and not kept (megabytes)."""
    accept_for_processing: bool = False
    """Take DX For Processing too; such images end as not applicable, the models read presentation images."""
    accept_secondary_capture: bool = False
    """Screen Secondary Captures of digitised films (Conversion Type DF or SI); otherwise they end as not applicable."""
    commitment: bool = False
    """Storage Commitment SCP, for senders that route only to nodes that commit (PS3.4 J)."""
    acse_timeout: Seconds = 10.0
    """Seconds for association messages. All times of reception and delivery are 0.01 to 86,400 s; none is endless."""
    dimse_timeout: Seconds = 60.0
    """Seconds between DIMSE messages of one operation."""
    idle_timeout: Seconds = 60.0
    """Seconds an association may stay silent."""
    reject_at_percent: Annotated[float, Field(gt=0, le=100)] = 85.0
    """Spool file system fuller than this: new associations are rejected transiently, running ones go on."""
    full_at_percent: Annotated[float, Field(gt=0, le=100)] = 95.0
    """Spool file system fuller than this: C-STORE is answered 0xA700 and the sender keeps the image."""

    @model_validator(mode="after")
    def _rejects_before_it_is_full(self) -> Self:
        if self.full_at_percent < self.reject_at_percent:
            msg = f"full_at_percent is below reject_at_percent; write {self.reject_at_percent:g} or more"
            raise ValueError(msg)
        return self

    @property
    def charsets(self) -> dict[str, tuple[str, ...]]:
        """Character sets by the AE title of senders that declare a wrong one."""
        return {peer.ae_title: peer.charset for peer in self.peers if peer.charset}


class Model(Group):
    """What is screened, by which bundle."""

    bundle: OptionalPath = None
    """Folder of the model bundle, fixed here; none means the one of `osteon model activate`, else the demo bundle that
    comes with the package (simulated training)."""
    workers: Workers = "auto"
    """Worker processes, one thread each. `auto`: one per core, less one for reception on hosts of up to four cores."""
    runtime: Literal["auto", "torch", "openvino"] = "auto"
    """What runs the networks. `auto`: torch on a GPU, else OpenVINO where the `fast` extra is installed and has proved
    itself here, else torch. With `openvino` it computes in float32 whatever `osteon model parity` found."""
    decode_reduce: Literal["off", "half"] = "off"
    """`half` decodes large JPEG 2000 and HTJ2K images at half resolution (three times faster). It takes effect only
    once `osteon model parity --decode` has admitted it for the active bundle."""
    image_timeout: Annotated[float, Field(ge=5, le=3600)] = 60.0
    """Seconds one image may take a worker; then the process is ended, and after three such ends the case is failed."""
    image_memory_mb: Annotated[int, Field(ge=256, le=1_000_000)] = 2048
    """Megabytes a worker may allocate for its images beyond its loaded model; more is `IMAGE-LIMIT` (Linux)."""
    minimum_age: Annotated[float, Field(ge=50, le=120)] = 50.0
    """Years. A T-score diagnosis is valid for post-menopausal women and men from 50 (ISCD); it can be raised only."""
    site_prevalence: Annotated[float, Field(ge=0.001, le=0.9)] | None = None
    """Share of screened patients with osteoporosis at this site, 0.1 = 10 %: probabilities and thresholds are shown on
    that scale. None shows the calibration data's. No category depends on it."""


class Destination(Group):
    """One archive that receives the results."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,19}$")]
    """Short name used in lanes, logs and commands."""
    ae_title: AeTitle
    """Its called AE title."""
    host: str
    """Its address."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """Its DICOM port."""
    sr_class: Literal["auto", "enhanced", "comprehensive", "comprehensive3d"] = "auto"
    """SR class it gets: `auto` is the first of Enhanced, Comprehensive, Comprehensive 3D that it accepts. Pin archives
    that mirror each other to one class, else both classes of one report meet in one archive."""
    proof: Literal["auto", "commitment", "find", "qido", "none"] = "auto"
    """What proves that it keeps a report: its storage commitment (PS3.4 J), C-FIND or QIDO-RS of every object, or
    `none`. `auto` takes the first of these that it offers; where it offers none, its answers to C-STORE have to do and
    the report stands as delivered unproved."""
    qido_url: str = ""
    """Base URL of its DICOMweb service (PS3.18), e.g. `https://pacs.example/dicom-web`; empty where it has none."""
    qido_authorization: OptionalPath = None
    """File whose one line is sent as the HTTP Authorization header, e.g. `Bearer ...`; readable by the node only."""
    iocm: Literal["auto", "off"] = "auto"
    """Send it an IHE IOCM rejection note when a report is withdrawn. `off` where it ignores such notes: then a person
    is asked to remove the objects there."""


class Delivery(Group):
    """How results travel."""

    ae_title: AeTitle = "OSTEON"
    """Calling AE title of the node."""
    acse_timeout: Seconds = 10.0
    """Seconds to establish an association; some archives never answer."""
    dimse_timeout: Seconds = 60.0
    """Seconds for one C-STORE response."""
    backoff_first: Seconds = 10.0
    """Seconds before the second try; doubles each time."""
    backoff_cap: Seconds = 600.0
    """Longest pause between tries, seconds."""
    idle_timeout: Seconds = 60.0
    """Seconds an association may stay silent before it is closed."""
    retry_hours: Annotated[float, Field(ge=72, le=8_760)] = 72.0
    """Hours a report is tried at a destination that cannot take it; then it waits, with its bytes, for a person."""
    breaker_failures: Annotated[int, Field(ge=1, le=1000)] = 5
    """Associations in a row that do not come about before the node stops trying and only asks by C-ECHO."""
    probe_seconds: Seconds = 30.0
    """Seconds between two C-ECHOs to a destination that is not reachable."""
    recovery_rate: Annotated[float, Field(ge=0.01, le=1000)] = 5.0
    """Objects a second while a destination that was away takes what has piled up; so that it is not felled again."""
    commitment_wait: Annotated[float, Field(ge=0.01, le=604_800)] = 300.0
    """Seconds to await the report on a storage commitment; then it is asked for again, three times in all."""
    destinations: tuple[Destination, ...] = ()
    """Where results go. Without any, results are recorded and wait."""


class Settings(Group):
    """The whole configuration. `Settings()` is the documented default."""

    site: Site = Site()
    storage: Storage = Storage()
    reception: Reception = Reception()
    clinical: Clinical = Clinical()
    model: Model = Model()
    report: Report = Report()
    delivery: Delivery = Delivery()
    retention: Retention = Retention()
    reconciliation: Reconciliation = Reconciliation()
    results: ResultsOut = ResultsOut()
    fleet: Fleet = Fleet()


def load(path: Path | None) -> Settings:
    """Read the TOML file at `path`, or give the defaults for None.

    Raises:
        SettingsError: the file is missing, is no TOML, or holds an unknown key or an impossible value.

    """
    if path is None:
        return Settings()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows editors write a mark first
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}); give an existing file with --config"
        raise SettingsError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path}: is not valid TOML: {error}"
        raise SettingsError(msg) from error
    return parse(table, origin=str(path))


def parse(table: dict[str, object], *, origin: str) -> Settings:
    """Check a parsed TOML table; `origin` names it in error messages."""
    try:
        settings = Settings.model_validate(table)
    except ValidationError as error:
        msg = f"{origin}: {_explain(error)}"
        raise SettingsError(msg) from error
    fault = _fault(settings)
    if fault is not None:
        msg = f"{origin}: {fault}"
        raise SettingsError(msg)
    return settings


def _fault(settings: Settings) -> str | None:
    """What is wrong between the groups, each of which is right by itself."""
    names = [d.name for d in settings.delivery.destinations]
    if len(names) != len(set(names)):
        return "delivery.destinations: two destinations share a name; give each its own"
    archive = settings.reconciliation.archive
    if archive and archive not in names:
        known = f"name one of delivery.destinations: {', '.join(names)}" if names else "delivery.destinations is empty"
        return f"reconciliation.archive: {archive!r} is no destination; {known}"
    return settings.fleet.fault(
        database_url=settings.storage.database_url, largest_object_mb=settings.reception.maximum_object_mb
    )


def _explain(error: ValidationError) -> str:
    """One line for the first problem: key, what is wrong, what to do."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}; {_nearest(first['loc'])} (all keys: `osteon settings`)"
    problem = first["msg"].removeprefix("Value error, ")
    quoted = first["loc"][-1] not in _NEVER_QUOTED and not isinstance(first["input"], dict)
    return f"{key}: {problem}" + (f" (got {first['input']!r})" if quoted else "")


def _nearest(where: Sequence[int | str]) -> str:
    """What to write instead of an unknown key: the one of its group that looks most like it, if any does."""
    *above, wrong = [str(part) for part in where if isinstance(part, str)]
    siblings = [one[-1] for one in _keys(Settings) if one[:-1] == above]
    near = difflib.get_close_matches(wrong, siblings, n=1)
    return f"did you mean {near[0]!r}?" if near else "remove it or correct its spelling"


def _keys(group: type[BaseModel]) -> Iterator[list[str]]:
    """Every key with the groups it stands in; the items of a list are one group."""
    for name, field in group.model_fields.items():
        yield [name]
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from ([name, *below] for below in _keys(kind))
