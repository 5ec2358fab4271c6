"""Who is on the simulated film: body size, age, sex and the two bone latents the image is allowed to show.

Values only. How a latent becomes cortex and trabeculae is decided in `bone.py`; nothing else may read the latents,
so that no part of the picture but the skeleton can give the label away.
"""

from __future__ import annotations

from dataclasses import dataclass

from model.domain import Sex


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A virtual person as the image sees one."""

    sex: Sex = Sex.FEMALE
    """Anything but FEMALE gets the male body shape."""
    age_years: float = 65.0
    height_cm: float = 158.0
    weight_kg: float = 62.0
    t_image: float = -1.0
    """Status of the thoracic skeleton on this film, on the scale of a T-score."""
    texture: float = 0.0
    """Trabecular texture, standard deviations of the trabecular bone score; negative is degraded."""

    @property
    def female(self) -> bool:
        """Whether the female body shape is drawn."""
        return self.sex is Sex.FEMALE

    @property
    def bmi(self) -> float:
        """Body mass index in kg/m2."""
        return self.weight_kg / (self.height_cm / 100.0) ** 2
