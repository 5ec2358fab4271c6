"""The bundle's model card: what it is, what it must not be used for, and what was measured on what.

Words only; the figures come from the manifest. A bundle trained on simulated images says so in its first line.
"""

from __future__ import annotations

from model.manifest import Calibration, Manifest, Metric

SIMULATED = "TRAINED ON SIMULATED IMAGES - NOT FOR CLINICAL USE"


def model_card(manifest: Manifest) -> str:
    """Markdown of the card."""
    banner = [f"**{SIMULATED}**", ""] if manifest.training.simulated else []
    weights = manifest.training.weights
    software = ", ".join(f"{name} {version}" for name, version in manifest.training.software.items())
    lines = [
        f"# {manifest.name} {manifest.version}",
        "",
        *banner,
        f"Bundle `{manifest.bundle_id}`.",
        "",
        "## Use",
        "",
        manifest.intended_use,
        "",
        *(f"- {text}" for text in manifest.contraindications),
        f"- Films of people younger than {manifest.eligibility.minimum_age_years:g} years are not assessed.",
        f"- Without {', '.join(manifest.eligibility.required_variables)} a result rests on the image alone.",
        "",
        "## Data",
        "",
        *(f"- {d.use}: {d.source}; n = {d.count}; licence: {d.licence}" for d in manifest.training.data),
        f"- Starting weights: {weights.package} {weights.version}",
        f"- Licence of the weights: its file says {weights.licence_file}, its metadata {weights.licence_metadata}.",
        "",
        "## Figures",
        "",
        *_measured_on(manifest),
        "",
        *sealed_figures(manifest),
        "## Making",
        "",
        f"Seed {manifest.training.seed}, {manifest.training.epochs} epochs, commit {manifest.training.commit}.",
        *_calibrated_on(manifest.calibration),
        f"The figures above are of patients it never saw, held out by time from {manifest.training.held_out_from} on.",
        f"Weights gamma of the two wavelet fusions: {', '.join(f'{g:.4f}' for g in manifest.training.gamma)}.",
        "No benefit of the wavelet branch is claimed.",
        f"Software: {software}.",
        "",
    ]
    return "\n".join(lines)


def _measured_on(manifest: Manifest) -> tuple[str, ...]:
    if manifest.training.simulated:
        return (
            "Measured on simulated films, or on public films where the row says so.",
            "They describe this software on its own test material and say nothing about patients.",
        )
    return (
        f"Measured on an internal hold-out of {manifest.training.data[0].source}; no external validation was made.",
        "The gate's are also of public and of simulated films, where the row says so.",
    )


def _calibrated_on(calibration: Calibration) -> tuple[str, ...]:
    if calibration.kept_apart:
        return (
            "Calibration, fusion and thresholds rest on what the network says about",
            f"{calibration.patients} patients who were kept from its training.",
        )
    return (
        f"Calibration, fusion and thresholds rest on {calibration.patients} predictions, each by a network",
        f"that never saw the patient's fold (of {calibration.folds}). The network that ships saw all of them:",
        "it may be a little surer than those it was calibrated by.",
    )


def sealed_figures(manifest: Manifest) -> list[str]:
    """Markdown lines of every figure that was measured before the bundle was sealed, an empty line last."""
    ceiling = "`auc.ceiling` is the score an observer would reach who reads the simulated bone without error."
    return [
        "| figure | value | 95 % interval | n | positives | measured on |",
        "|---|---|---|---|---|---|",
        *(_row(metric) for metric in manifest.metrics),
        "",
        *([ceiling] if any(metric.name == "auc.ceiling" for metric in manifest.metrics) else ()),
        "`without-osteopenia` leaves out lowest T-scores between -2.5 and -1; it flatters every score.",
        "",
    ]


def _row(metric: Metric) -> str:
    interval = "" if metric.low is None or metric.high is None else f"{metric.low:.3f} to {metric.high:.3f}"
    positives = "" if metric.positives is None else str(metric.positives)
    return f"| {metric.name} | {metric.value:.3f} | {interval} | {metric.n} | {positives} | {metric.population} |"
