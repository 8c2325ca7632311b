"""Patients and their visits: splits, sexes, skin types, weeks, and true severity that falls with treatment.

Shapes: V visits, R = 4 regions.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy.typing import NDArray

from grasp_ray.trial.simulate.regions import Severity, SeverityProfile, severity_of_pasi
from grasp_ray.trial.simulate.seeding import stream
from grasp_ray.trial.simulate.settings import SimulateSettings

SPLITS = ("train", "validation", "test")
SKIN_TYPES = {"I": 60, "II": 163, "III": 85, "IV": 22, "V": 12, "VI": 2}
"""Patients per Fitzpatrick skin type in GRASP-PsONet, section 3."""
SEXES = {"F": 220, "M": 124}
SITES = {"site-1": 5, "site-2": 3, "site-3": 2}
DEVICES = {"phone-A": 4, "phone-B": 3, "phone-C": 2, "phone-D": 1}
WEEKS = (0, 2, 4, 8)
# Share of the eventual treatment response that is seen at each week.
_RESPONSE_BY_WEEK = {0: 0.0, 2: 0.35, 4: 0.65, 8: 1.0}


def apportion(total: int, weights: dict[str, int]) -> dict[str, int]:
    """Split `total` in proportion to the weights: largest remainders, ties by name."""
    exact = {name: total * weight / sum(weights.values()) for name, weight in weights.items()}
    shares = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (shares[name] - exact[name], name))
    for name in by_remainder[: total - sum(shares.values())]:
        shares[name] += 1
    return shares


def make_patients(settings: SimulateSettings) -> pd.DataFrame:
    """Patients with patient_id, split, skin_type, sex, site, device; counts are exact, order is shuffled."""
    counts = settings.counts.patients
    total = sum(counts)
    width = max(3, len(str(total)))
    frame = pd.DataFrame({"patient_id": [f"P{number:0{width}d}" for number in range(1, total + 1)]})
    columns = {
        "split": dict(zip(SPLITS, counts, strict=True)),
        "skin_type": apportion(total, SKIN_TYPES),
        "sex": apportion(total, SEXES),
        "site": apportion(total, SITES),
        "device": apportion(total, DEVICES),
    }
    for column, shares in columns.items():
        values = [name for name, count in shares.items() for _ in range(count)]
        frame[column] = stream(settings.seed, "patients", column).permutation(np.array(values))
    return frame


def make_visits(patients: pd.DataFrame, settings: SimulateSettings) -> pd.DataFrame:
    """One row per visit: the patient's columns, visit_id, week and true_pasi.

    Every patient has a baseline visit and up to three more. Within each split the true PASIs follow one
    distribution with `class_shares`; a patient's PASI falls with the weeks as far as treatment works.
    """
    rng = stream(settings.seed, "visits")
    parts = []
    for split, total in zip(SPLITS, settings.counts.visits, strict=True):
        members = patients[patients["split"] == split]
        per_patient = _visits_per_patient(len(members), total, rng)
        visits = members.loc[members.index.repeat(per_patient)].reset_index(drop=True)
        visits["week"] = np.concatenate([_weeks(count, rng) for count in per_patient])
        burden = _disease_burden(visits, rng)
        rank = np.argsort(np.argsort(burden, kind="stable"), kind="stable")
        visits["true_pasi"] = pasi_at_quantile((rank + 0.5) / total, settings.class_shares)
        parts.append(visits)
    frame = pd.concat(parts, ignore_index=True).sort_values(["patient_id", "week"], ignore_index=True)
    frame.insert(0, "visit_id", frame["patient_id"] + "-W" + frame["week"].astype(str))
    return frame


def _visits_per_patient(patients: int, visits: int, rng: np.random.Generator) -> Int[np.ndarray, " P"]:
    """1–4 visits per patient that sum to `visits`."""
    assert patients <= visits <= 4 * patients, "a patient has one to four visits"
    extra_slots = np.repeat(np.arange(patients), 3)
    chosen = rng.permutation(extra_slots)[: visits - patients]
    return 1 + np.bincount(chosen, minlength=patients)


def _weeks(count: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    later = rng.choice(WEEKS[1:], size=count - 1, replace=False)
    return np.sort(np.concatenate([[0], later])).astype(np.int64)


def _disease_burden(visits: pd.DataFrame, rng: np.random.Generator) -> Float[np.ndarray, " V"]:
    """An unscaled latent burden per visit; only its order is used."""
    people = sorted(visits["patient_id"].unique())
    onset = pd.Series(rng.normal(0.0, 1.0, len(people)), index=people)
    response = pd.Series(rng.gamma(4.0, 0.35, len(people)), index=people)
    progress = visits["week"].map(_RESPONSE_BY_WEEK).to_numpy(dtype=float)
    fluctuation = rng.normal(0.0, 0.15, len(visits))
    fallen = visits["patient_id"].map(response).to_numpy(dtype=float) * progress
    burden: NDArray[np.float64] = visits["patient_id"].map(onset).to_numpy(dtype=float) - fallen + fluctuation
    return burden


def pasi_at_quantile(
    quantile: Float[np.ndarray, " V"], class_shares: tuple[float, float, float]
) -> Float[np.ndarray, " V"]:
    """The true PASI at quantiles in (0, 1): three humps, thinner near the class edges, and a long tail.

    Density at the edges 5 and 10 is about two thirds of the classes' mean, so that most visits have a
    clear class and the two readers' disagreements gather at the edges.
    """
    mild, moderate, severe = class_shares
    in_mild = np.clip(quantile / mild, 0, 1)
    in_moderate = np.clip((quantile - mild) / moderate, 0, 1) * 2 - 1
    in_severe = np.clip((quantile - mild - moderate) / severe, 0, 1)
    return np.where(
        quantile <= mild,
        0.8 + 4.2 * in_mild**1.5,
        np.where(
            quantile <= mild + moderate,
            7.5 + 2.5 * np.sign(in_moderate) * np.abs(in_moderate) ** 1.5,
            10.0 + 3.0 * in_severe - 9.0 * np.log(1 - 0.97 * in_severe),
        ),
    )


def make_severity(visits: pd.DataFrame, seed: int) -> Severity:
    """Latent regional severities whose PASI is each visit's true_pasi.

    How a patient's disease is spread over regions and signs is the patient's own and varies a little
    from visit to visit.
    """
    people = sorted(visits["patient_id"].unique())
    row_of = pd.Series(np.arange(len(people)), index=people)
    patient_V = visits["patient_id"].map(row_of).to_numpy()
    rng = stream(seed, "severity")

    def spread(patient_sigma: float, visit_sigma: float) -> Float[np.ndarray, "V 4"]:
        of_patient_PR = rng.normal(0.0, patient_sigma, (len(people), 4))
        of_visit_VR = rng.normal(0.0, visit_sigma, (len(visits), 4))
        factor_VR: NDArray[np.float64] = np.exp(of_patient_PR[patient_V] + of_visit_VR)
        return factor_VR

    profile = SeverityProfile(spread(0.12, 0.05), spread(0.15, 0.05), spread(0.2, 0.08), spread(0.35, 0.1))
    return severity_of_pasi(profile, visits["true_pasi"].to_numpy(dtype=float))
