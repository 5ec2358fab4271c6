"""Whole HL7 messages for fuzzing, cross-checks and benchmarks. All names and numbers are invented.

Nothing of the product is imported here, so that a benchmark's peers read exactly the same bytes.
"""

from __future__ import annotations

import random

SEPARATORS = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÜßøŁéñ王小東山田太郎김ひらカタ0123456789 .,-'/+()"
_UNITS = ("kg", "cm", "mmol/L", "umol/L", "U/L", "mg/dL", "%", "nmol/L")


def header(kind: str, *, control: str = "C1", charset: str = "UNICODE UTF-8", modes: str = "|") -> str:
    """An MSH segment; `modes` is `MSH-15|MSH-16`."""
    return f"MSH|^~\\&|HIS|FAC|OSTEON|RAD|20250310090000+0000||{kind}|{control}|P|2.5.1|||{modes}||{charset}"


def frame(*segments: str, codec: str = "utf-8") -> bytes:
    """The segments as they travel between VT and FS."""
    return ("\r".join(segments) + "\r").encode(codec)


def adt(control: str = "C1") -> bytes:
    """An ADT^A08 of 628 bytes, the size that section 3 of the design measured."""
    return frame(
        header("ADT^A08^ADT_A01", control=f"{control:>4}".replace(" ", "0")),
        "EVN|A08|20250310090000|||USER1^CLRK^ANNA^^^^^^HOSP",
        "PID|1||100001^^^HOSP&1.2.276.0.76.4.9&ISO^MR~9988776655^^^NATIONAL^NI||MÜLLER^ANNA^MARIA^^^^L||19480312|F|||"
        "Hauptstrasse 12^^Berlin^^10115^DE^H||+49301234567^PRN^PH~+491701234567^PRN^CP|||M|EV|V100001^^^HOSP^VN",
        "NK1|1|MÜLLER^HANS^^^^^L|SPO^Spouse^HL70063|Hauptstrasse 12^^Berlin^^10115^DE|+49301234567",
        "PV1|1|I|W3^12^1^HOSP||||1234^ARZT^BERTA^^^DR||||||||||||V100001^^^HOSP^VN|||||||||||||||||||||||||20250309120000",
        "OBX|1|NM|29463-7^Body weight^LN||61.5|kg|||||F|||20250310083000",
    )


def oru(results: int, control: str = "C1") -> bytes:
    """An ORU^R01 with one order of `results` OBX; 25 make 4.2 kB, 200 make 31 kB."""
    rows = (
        f"OBX|{n + 1}|NM|{2000 + n}-8^Calcium [Mass/volume] in Serum^LN^CA{n}^Calcium^L||{2 + n / 100:.2f}"
        "|mmol/L^mmol/L^UCUM|2.15-2.55|N|||F|||20250310083000||LAB1^Tech|||20250310085500"
        for n in range(results)
    )
    return frame(
        header("ORU^R01^ORU_R01", control=control),
        "PID|1||100001^^^HOSP&1.2.276.0.76.4.9&ISO^MR||MÜLLER^ANNA^^^^^L||19480312|F",
        "ORC|RE|P1^RIS|F1^LAB",
        "OBR|1|P1^RIS|F1^LAB|24323-8^Comprehensive metabolic panel^LN|||20250310083000|||||||||1234^ARZT^BERTA||||||"
        "20250310090000||LAB|F",
        *rows,
    )


def well_formed(rng: random.Random) -> bytes:
    """A random ADT^A08 or ORU^R01 that obeys v2.5.1, in UTF-8, every value written with the escapes it needs."""
    pid = _pid(rng)
    if rng.random() < 0.5:
        visit = f"PV1|1|{rng.choice('IOE')}|{_text(rng)}^{_text(rng)}||||||||||||||||{rng.randrange(10**6)}^^^HOSP^VN"
        rows = [_obx(rng, n) for n in range(1, rng.randrange(1, 4))]
        return frame(header("ADT^A08^ADT_A01", control=_id(rng)), "EVN|A08|20250310090000", pid, visit, *rows)
    order = f"OBR|1|{_id(rng)}^RIS|{_id(rng)}^LAB^1.2.3^ISO|24323-8^{_text(rng)}^LN|||20250310083000"
    rows = [_obx(rng, n) for n in range(1, rng.randrange(2, 8))]
    return frame(header("ORU^R01^ORU_R01", control=_id(rng)), pid, order, *rows)


def _pid(rng: random.Random) -> str:
    identifiers = "~".join(
        f"{_id(rng)}^^^{_id(rng)}&1.2.{rng.randrange(999)}&ISO^{rng.choice(('MR', 'NI', 'SS'))}"
        for _ in range(rng.randrange(1, 4))
    )
    names = "~".join(f"{_text(rng)}^{_text(rng)}^{_text(rng)}^^^^{kind}" for kind in "LMA"[: rng.randrange(1, 4)])
    born = f"{rng.randrange(1920, 2000)}{rng.randrange(1, 13):02}{rng.randrange(1, 29):02}"
    address = f"{_text(rng)}&{_text(rng)}^^{_text(rng)}^^10115^DE^H"
    return f"PID|1||{identifiers}||{names}||{born}|{rng.choice('FMOU')}|||{address}||+49301234567^PRN^PH"


def _obx(rng: random.Random, number: int) -> str:
    code = f"{rng.randrange(100, 99999)}-{rng.randrange(10)}^{_text(rng)}^LN^{_id(rng)}^{_text(rng)}^L"
    when = f"2025031{rng.randrange(10)}{rng.randrange(24):02}3000"
    if rng.random() < 0.3:
        return f"OBX|{number}|ST|{code}||{_text(rng)}||||||F|||{when}"
    value = f"{rng.uniform(0, 300):.{rng.randrange(4)}f}"
    return f"OBX|{number}|NM|{code}|{rng.choice(('', '1', '2.1'))}|{value}|{rng.choice(_UNITS)}|2.1-2.6|N|||F|||{when}"


def _id(rng: random.Random) -> str:
    return "".join(rng.choices("ABCDEFGHJK0123456789", k=rng.randrange(4, 9)))


def _text(rng: random.Random) -> str:
    """Letters of several scripts, now and then a separator as its escape sequence."""
    letters = rng.choices(_LETTERS, k=rng.randrange(2, 12))
    if rng.random() < 0.4:
        letters.insert(rng.randrange(len(letters)), rng.choice(list(SEPARATORS.values())))
    return "".join(letters).strip(" .") or "X"
