"""The same photos removed in one arm, and in its twin kept with all but the lesion hidden.

Both arms act on exactly the same photos, so the twin differs in what is left of them alone. Test photos stay
whole. Shapes: I photos of the trial in manifest order, F features.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from grasp_ray.evidence.arms import Arm
from grasp_ray.evidence.encoded_trial import EncodedTrial

REMOVED, MASKED = "removed", "masked"


def photos_for_both(images: Iterable[str], trial: EncodedTrial, maskable: Collection[str]) -> list[str]:
    """Those training photos that can be masked and removed, in the given order.

    `maskable` names the photos with a usable lesion mask. Of a visit that would lose its last photo, the last
    photo in the order stays as it is in both arms.
    """
    train = trial.manifest[trial.manifest["split"] == "train"]
    visit_of = dict(zip(train["image_id"].astype(str), train["visit_id"].astype(str), strict=True))
    left = train["visit_id"].astype(str).value_counts().to_dict()
    usable = set(maskable)
    chosen = []
    for image_id in dict.fromkeys(images):
        visit_id = visit_of.get(image_id)
        if visit_id is None or image_id not in usable or left[visit_id] == 1:
            continue
        left[visit_id] -= 1
        chosen.append(image_id)
    return chosen


def twin_arms(
    name: str, trial: EncodedTrial, masked_IF: Float32[np.ndarray, "I F"], images: Collection[str]
) -> list[Arm]:
    """`<name>, removed` and `<name>, masked` of the same photos; `share` is theirs among the training photos.

    `masked_IF` has the features of the photos with all but the lesion hidden, on the scale of the trial's
    own; only the rows of `images` are read.
    """
    chosen_I = trial.manifest["image_id"].isin(set(images)).to_numpy()
    assert int(chosen_I.sum()) == len(set(images)), "every photo is in the trial"
    share = len(set(images)) / int((trial.manifest["split"] == "train").sum())
    rows = trial.manifest.index.to_numpy()[chosen_I]
    features_IF = trial.features_IF.copy()
    features_IF[rows] = masked_IF[rows]
    return [
        Arm(f"{name}, {REMOVED}", share, trial.without(images=images)),
        Arm(f"{name}, {MASKED}", share, replace(trial, features_IF=features_IF)),
    ]
