"""One independent random stream per part of the picture.

A part that draws more numbers than yesterday, or than its counterfactual twin, must not move any other part: with a
common generator a changed rib would change the heart. Nothing in this package draws from anywhere else.
"""

from __future__ import annotations

import enum

import numpy as np


class Part(enum.IntEnum):
    """What a stream is used for. The numbers are part of a phantom's identity: never renumber."""

    THORAX = 1
    HEART = 2
    LUNGS = 3
    VESSELS = 4
    BODY = 5
    SPINE = 6
    SKELETON = 7
    AIR = 8
    BONE_STATE = 9
    BONE_TEXTURE = 10
    SOFT_TEXTURE = 11
    NOISE = 12
    MARKS = 13
    DEVICES = 14


def stream(seed: int, part: Part) -> np.random.Generator:
    """Return the generator of `part` for the image `seed` (a non-negative integer)."""
    return np.random.default_rng([seed, int(part)])
