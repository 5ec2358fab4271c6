"""Tables of a site's scored patients with DXA, whose score separates well and is calibrated."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from scipy.special import expit


def scored(count: int = 3000, separation: float = 2.6) -> list[dict[str, str]]:
    rng = np.random.default_rng(1)
    truth = rng.random(count) < 0.25
    z = separation * (rng.normal(size=count) + separation * truth) - separation**2 / 2 + np.log(1 / 3)
    return [
        {
            "probability": f"{expit(a):.8f}",
            "t_lowest": "-3.1" if ill else "-1.2",
            "sex": "F" if i % 2 else "M",
            "mode": "IMAGE_AND_CLINICAL",
            "age": "71",
        }
        for i, (a, ill) in enumerate(zip(z, truth, strict=True))
    ]


def write(path: Path, own: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, own[0])
        writer.writeheader()
        writer.writerows(own)
    return path
