"""What is planted in a trial: label errors in training, and capture artefacts that betray the class there.

In training an artefact goes with one true class; in validation and test it is as frequent, but
independent of the class. So a model that uses it errs on validation visits, which exposes it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from grasp_ray.trial.pasi import pasi_class
from grasp_ray.trial.simulate.seeding import stream
from grasp_ray.trial.simulate.settings import ArtefactSettings

ARTEFACTS = ("lamp", "ruler", "device")
LINKED_CLASS = {"lamp": 2, "ruler": 1, "device": 0}
"""The class that each artefact goes with in training: severe, moderate, mild."""


@dataclass(frozen=True)
class PlantedLabels:
    """Reader 1's PASI after planting, and which visits were changed."""

    pasi_reader1: pd.Series
    label_error: pd.Series


def plant_label_errors(visits: pd.DataFrame, fraction: float, seed: int) -> PlantedLabels:
    """Replace Reader 1's class at `fraction` of the training visits by one of the other two, evenly.

    The new PASI is one that Reader 1 gave to some training visit of the new class; if there is none,
    the middle of the class. `visits` needs split and pasi_reader1.
    """
    rng = stream(seed, "label errors")
    training = visits.index[visits["split"] == "train"].to_numpy()
    chosen = np.sort(rng.choice(training, size=round(fraction * len(training)), replace=False))
    pasi = visits["pasi_reader1"].copy()
    classes = pd.Series(pasi_class(pasi.to_numpy(dtype=float)), index=visits.index)
    for row in chosen:
        new_class = int((classes[row] + rng.integers(1, 3)) % 3)
        donors = training[classes[training].to_numpy() == new_class]
        middle = (2.5, 7.5, 15.0)[new_class]
        pasi[row] = visits["pasi_reader1"][rng.choice(donors)] if len(donors) else middle
    label_error = pd.Series(visits.index.isin(chosen), index=visits.index)
    return PlantedLabels(pasi, label_error)


def visit_artefacts(visits: pd.DataFrame, settings: ArtefactSettings, seed: int) -> pd.Series:
    """The artefact of each visit, or ''. `visits` needs split and true_class."""
    rng = stream(seed, "artefacts")
    linked = {"lamp": settings.lamp_share, "ruler": settings.ruler_share, "device": settings.device_share}
    training = visits["split"] == "train"
    draw = rng.random(len(visits))
    found = pd.Series("", index=visits.index, dtype="str")
    lower = np.zeros(len(visits))
    for name in ARTEFACTS:
        of_class = visits["true_class"] == LINKED_CLASS[name]
        share = np.where(of_class, linked[name], settings.share_elsewhere)
        share = np.where(training, share, share[training].mean())
        found[(draw >= lower) & (draw < lower + share)] = name
        lower += share
    return found


def image_artefacts(images: pd.DataFrame, settings: ArtefactSettings, seed: int) -> pd.Series:
    """The artefact of each photo: the visit's, on `photos_share` of its photos and on at least one.

    `images` needs visit_id and visit_artefact. The tinted device takes all photos of its visit.
    """
    rank = pd.Series(stream(seed, "artefact photos").random(len(images)), index=images.index)
    place = rank.groupby(images["visit_id"]).rank(method="first")
    count = images.groupby("visit_id")["visit_id"].transform("size")
    shown = place <= np.maximum(1, np.round(settings.photos_share * count.to_numpy(dtype=float)))
    shown |= images["visit_artefact"] == "device"
    return images["visit_artefact"].where(shown, "")
