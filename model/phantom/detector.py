"""From the signal behind the patient to the picture a radiologist gets: blur, noise, logarithm, vendor processing.

The vendor's part (latitude compression, unsharp mask, window, gamma) removes the mean grey that a bone measurement
would need, exactly as it does on real films.
"""

from __future__ import annotations

import cv2
import numpy as np

from model.phantom.grid import FloatArray, Map, gaussian, wide_blur
from model.phantom.physics import scatter
from model.phantom.scenario import Acquisition

_QUANTA_PER_MM2 = 2e6
_SMALLEST_BLUR_PIXELS = 0.25
_SMALLEST_ROTATION_DEGREES = 0.05
_LARGE_SCALE_CM = 2.0
_ANATOMY_SHARE = 0.35
"""Below this share of the median density the film was exposed directly and does not belong to the patient."""
_LUNG_CM = 4.0
_BASE_FOG = 0.20
"""Part of the grey scale below the darkest lung; with it mean and contrast are those of real films."""
_TOE = 0.06
_BLACK_PERCENTILE, _WHITE_PERCENTILE = 2.0, 99.7


def detect(primary_signal: Map, pixel_cm: float, acquisition: Acquisition, rng: np.random.Generator) -> Map:
    """Optical density-like image -log(signal), bone bright, of a primary signal relative to the open field."""
    scattered = acquisition.scatter_ratio * scatter(primary_signal, pixel_cm)
    blur_pixels = acquisition.blur_mm / 10 / pixel_cm
    sharp = primary_signal if blur_pixels <= _SMALLEST_BLUR_PIXELS else gaussian(primary_signal, blur_pixels)
    signal = _rotate(sharp + scattered, acquisition.rotation_degrees)
    quanta = acquisition.dose * _QUANTA_PER_MM2 * (pixel_cm * 10) ** 2
    noise = rng.standard_normal(signal.shape, dtype=np.float32)
    noise *= np.sqrt(signal / np.float32(quanta) + np.float32(acquisition.electronic_noise**2))
    signal = signal + (noise if blur_pixels <= _SMALLEST_BLUR_PIXELS else gaussian(noise, blur_pixels))
    return np.asarray(-np.log(np.maximum(signal, np.float32(1e-5))), dtype=np.float32)


def process(density: Map, lung: Map, pixel_cm: float, acquisition: Acquisition) -> Map:
    """Turn `density` into grey [0, 1], bone bright; `lung` (cm) tells where the window's lower end is taken."""
    sampled = density[::4, ::4]
    anatomy_from = np.float32(_ANATOMY_SHARE * float(np.median(sampled)))
    in_anatomy = sampled[sampled > anatomy_from]
    reference, floor = float(np.median(in_anatomy)), np.float32(np.percentile(in_anatomy, 8))
    large = wide_blur(np.where(density > anatomy_from, density, floor), _LARGE_SCALE_CM / pixel_cm)
    medium = wide_blur(density, acquisition.edge_mm / 10 / pixel_cm)
    compressed = acquisition.latitude * (large - np.float32(reference)) + (1 + 0.35 * acquisition.edge_gain) * (
        density - large
    )
    processed = compressed + acquisition.edge_gain * (density - medium)
    return _lookup(processed, lung, acquisition)


def _rotate(signal: Map, degrees: float) -> Map:
    """Turn the patient on the detector about the centre; the border repeats outwards."""
    if abs(degrees) <= _SMALLEST_ROTATION_DEGREES:
        return signal
    rows, columns = signal.shape
    turn = cv2.getRotationMatrix2D((columns / 2, rows / 2), -degrees, 1.0)
    cv2.setNumThreads(1)
    turned = cv2.warpAffine(signal, turn, (columns, rows), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.maximum(np.asarray(turned, dtype=np.float32), np.float32(1e-5))


def _lookup(processed: FloatArray, lung: Map, acquisition: Acquisition) -> Map:
    """Window from lung to the densest anatomy, then gain, gamma and a slight S-curve."""
    rows, columns = processed.shape
    central = processed[int(0.1 * rows) : int(0.95 * rows), int(0.1 * columns) : int(0.9 * columns)][::4, ::4]
    black = float(np.percentile(processed[lung > _LUNG_CM][::7], _BLACK_PERCENTILE))
    white = float(np.percentile(central, _WHITE_PERCENTILE))
    black -= _BASE_FOG * (white - black)
    exposed = (processed - black) * (acquisition.gain / (white - black))
    grey = np.minimum(_toe(exposed), 1) ** acquisition.gamma
    grey = grey + 0.03 * np.sin(np.pi * (2 * grey - 1))
    return np.asarray(np.clip(grey, 0, 1), dtype=np.float32)


def _toe(exposed: FloatArray) -> FloatArray:
    """Compress what is darker than lung towards 0 without reaching it: direct exposure is dark grey and noisy."""
    return np.where(exposed > _TOE, exposed, _TOE**2 / (2 * _TOE - np.minimum(exposed, _TOE)))
