"""Is this an upright frontal chest film like those the model knows? Pixels decide, not the header (model.md 10).

Two tests on frozen ImageNet features, both must agree: a softmax regression over the ways a film can lie and what else
may come instead of one, and the cosine distance to the fifth nearest of a bank of embeddings, as a ratio to the films'
own leave-patient-out 99 % quantile. Neither alone is enough: half of the inverted films pass the distance, and another
body part may pass the regression. Nothing is corrected: a wrong header is rarely wrong once. Not allowed here: torch,
the image model's weights (retraining it must not move the gate), and pixels in the bank.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from model.domain import Reason
from model.preprocess import prepare

Floats = npt.NDArray[np.float32]
FeatureMap = Callable[[Floats], Floats]
"""(224, 224) float32 in [0, 1], bone bright, letter-boxed -> (channels, rows, columns) float32 of the frozen trunk."""

GATE_SIDE = 224
"""Side of the square the frozen trunk reads, px: the side its ImageNet weights were trained at."""
NEIGHBOUR = 5
ACCEPT_AT = 0.5
"""Least probability of upright plus mirrored."""
NOT_CHEST_RATIO = 2.0
"""Beyond this distance ratio the orientation is not worth naming: no transform of a film reached 1.9 (measured)."""


class Pose(enum.StrEnum):
    """How the film lies; the order is the order of the regression's rows."""

    UPRIGHT = "upright"
    MIRRORED = "mirrored"
    INVERTED = "inverted"
    """Polarity opposite to bone bright."""
    ROTATED_90 = "rotated_90"
    """Counter-clockwise."""
    ROTATED_270 = "rotated_270"
    ROTATED_180 = "rotated_180"
    UPSIDE_DOWN = "upside_down"
    """Flipped top to bottom: 180 degrees and mirrored."""
    PARTIAL = "partial"
    """A crop that shows less than two thirds of the chest's height or width."""
    LATERAL = "lateral"
    """A chest from the side; learned from phantoms alone."""
    OTHER = "other"
    """No chest at all; learned from phantoms of other body parts and empty exposures alone."""


POSES: tuple[Pose, ...] = tuple(Pose)
FRONTAL_POSES: tuple[Pose, ...] = POSES[: POSES.index(Pose.LATERAL)]
"""What a frontal film itself can be made into; a gate fitted without the other pictures knows these only."""
_REASONS: tuple[tuple[Reason, tuple[Pose, ...]], ...] = (
    (Reason.INVERTED, (Pose.INVERTED,)),
    (Reason.ROTATED_90, (Pose.ROTATED_90, Pose.ROTATED_270)),
    (Reason.UPSIDE_DOWN, (Pose.ROTATED_180, Pose.UPSIDE_DOWN)),
    (Reason.PARTIAL_CHEST, (Pose.PARTIAL,)),
    (Reason.VIEW_LATERAL, (Pose.LATERAL,)),
    (Reason.NOT_CHEST, (Pose.OTHER,)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """What the gate saw; `reasons` is empty exactly when `accepted`."""

    accepted: bool
    reasons: tuple[Reason, ...]
    limitations: tuple[Reason, ...]
    pose: Pose
    """The likeliest pose; meaningless far from the bank."""
    ratio: float
    """Distance to the bank; 1 = the limit."""
    agreement: float
    """Probability of upright plus mirrored."""

    @property
    def measurements(self) -> tuple[tuple[str, float], ...]:
        """What was measured, by name, for `NotAssessed`."""
        return (("gate_distance_ratio", self.ratio), ("gate_upright", self.agreement))


@dataclass(frozen=True, slots=True, kw_only=True)
class GateModel:
    """The fitted gate. Arrays are read-only."""

    weights: Floats = field(repr=False)
    """(poses, 3 * channels) on pooled features, scaling folded in; the poses are all of them or the frontal ones."""
    bias: Floats = field(repr=False)
    """(poses,)."""
    bank: npt.NDArray[np.float16] = field(repr=False)
    """(n, channels) unit embeddings of accepted images, never pixels."""
    distance_limit: float
    """Cosine distance to the fifth nearest that 99 % of true films stay under."""
    mirrored_at: float
    """Share of mirrored in upright plus mirrored from which the warning is given."""
    _near: Floats = field(init=False, repr=False)
    """The bank as it is compared, float32; to convert it took longer than to compare."""

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together."""
        rows, columns = self.weights.shape
        known = rows in {len(FRONTAL_POSES), len(POSES)}
        fits = known and rows == len(self.bias) and columns == 3 * self.bank.shape[1]
        if not fits or len(self.bank) < NEIGHBOUR or self.distance_limit <= 0:
            msg = (
                f"gate arrays do not fit: weights {self.weights.shape}, bias {self.bias.shape}, bank {self.bank.shape}"
            )
            raise ValueError(msg)
        for array in (self.weights, self.bias, self.bank):
            array.setflags(write=False)
        object.__setattr__(self, "_near", self.bank.astype(np.float32))

    def judge(self, pixels: Floats, feature_map: FeatureMap) -> GateVerdict:
        """Verdict on (rows, columns) float32 in [0, 1], bone bright."""
        return self.verdict(pooled(feature_map(gate_input(pixels))))

    def verdict(self, features: Floats) -> GateVerdict:
        """Verdict on the pooled features of one image."""
        probabilities = _softmax(self.weights.astype(np.float64) @ features + self.bias)
        upright, mirrored = float(probabilities[0]), float(probabilities[1])
        agreement = upright + mirrored
        distances = np.partition(1.0 - self._near @ embedding(features), NEIGHBOUR - 1)
        ratio = float(distances[NEIGHBOUR - 1]) / self.distance_limit
        reasons = _reasons(probabilities, agreement, ratio)
        flipped = not reasons and mirrored / agreement > self.mirrored_at
        return GateVerdict(
            accepted=not reasons,
            reasons=reasons,
            limitations=(Reason.MIRRORED,) if flipped else (),
            pose=POSES[int(probabilities.argmax())],
            ratio=ratio,
            agreement=min(agreement, 1.0),
        )

    def to_arrays(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
        """Arrays and string metadata for a safetensors file."""
        numbers = {"distance_limit": self.distance_limit, "mirrored_at": self.mirrored_at}
        arrays: dict[str, npt.NDArray[Any]] = {"weights": self.weights, "bias": self.bias, "bank": self.bank}
        return arrays, {name: repr(value) for name, value in numbers.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]) -> Self:
        """Inverse of `to_arrays`.

        Raises:
            KeyError: an array or a number is missing.
            ValueError: they do not fit together.

        """
        return cls(
            weights=np.array(arrays["weights"], np.float32),
            bias=np.array(arrays["bias"], np.float32),
            bank=np.array(arrays["bank"], np.float16),
            distance_limit=float(metadata["distance_limit"]),
            mirrored_at=float(metadata["mirrored_at"]),
        )


def gate_input(pixels: Floats) -> Floats:
    """The (224, 224) float32 square in [0, 1] the frozen trunk reads."""
    return prepare(pixels, GATE_SIDE).image


def pooled(feature_map: Floats) -> Floats:
    """(3 * channels,) float32: mean of the map, left minus right half, top minus bottom half without the middle line.

    The mean alone cannot tell a mirrored film from an upright one (recall .60 measured); the half differences can.
    """
    rows, columns = feature_map.shape[1] // 2, feature_map.shape[2] // 2
    left_right = feature_map[:, :, :columns].mean((1, 2)) - feature_map[:, :, -columns:].mean((1, 2))
    top_bottom = feature_map[:, :rows].mean((1, 2)) - feature_map[:, -rows:].mean((1, 2))
    return np.concatenate([feature_map.mean((1, 2)), left_right, top_bottom]).astype(np.float32)


def embedding(features: Floats) -> Floats:
    """Unit vector of the mean map, the first third of the pooled features."""
    mean = features[: len(features) // 3]
    length = max(float(np.linalg.norm(mean)), float(np.finfo(np.float32).tiny))
    return np.asarray(mean / length, np.float32)


def _reasons(probabilities: npt.NDArray[np.float64], agreement: float, ratio: float) -> tuple[Reason, ...]:
    if ratio > NOT_CHEST_RATIO:
        return (Reason.NOT_CHEST,)
    far = (Reason.OUT_OF_DIST,) if ratio > 1.0 else ()
    if agreement >= ACCEPT_AT:
        return far
    by_pose = dict(zip(POSES, probabilities, strict=False))
    seen, _ = max(_REASONS, key=lambda item: sum(by_pose.get(pose, 0.0) for pose in item[1]))
    return (seen,) if seen is Reason.NOT_CHEST else (seen, *far)


def _softmax(z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    powers = np.asarray(np.exp(z - z.max()), np.float64)
    return np.asarray(powers / powers.sum(), np.float64)
