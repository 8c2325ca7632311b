"""The arms of one trial: what each changes of the training set. All train with the baseline's seed and draws.

An arm's name says what it does, `share` how much of the training visits (for opponents: photos) it touches.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from grasp_ray.evidence.encoded_trial import EncodedTrial
from grasp_ray.evidence.settings import EvidenceSettings
from grasp_ray.evidence.suspicion import Suspicion
from grasp_ray.pruning.ranking import harm_ranks, score_columns


@dataclass(frozen=True)
class Arm:
    """A training set that differs from the baseline's."""

    name: str
    share: float
    trial: EncodedTrial
    loss_weights: Mapping[str, float] = field(default_factory=dict)


def arms_of(
    trial: EncodedTrial,
    suspicion: Suspicion,
    influence: pd.DataFrame,
    settings: EvidenceSettings,
    *,
    seed: int,
) -> list[Arm]:
    """Baseline, oracles, removal at each dose with its controls, reviews and down-weighting."""
    default = suspicion.ranking(settings.default)
    budget = settings.budget_share
    arms = [Arm("baseline", 0.0, trial), *_oracles(trial)]
    for share in sorted({*settings.dose_shares, budget}):
        count = round(share * len(default))
        arms.append(Arm(settings.default, share, trial.without(visits=default[:count])))
        arms += [
            Arm(name, share, trial.without(visits=chosen))
            for name, chosen in _visit_controls(trial, default[:count], seed).items()
        ]
        arms.append(Arm("opponents", share, trial.without(images=opponent_photos(influence, share))))
    count = round(budget * len(default))
    for name in settings.flaggers:
        arms.append(Arm(name, budget, trial.without(visits=suspicion.ranking(name)[:count])))
    photos = opponent_photos(influence, budget)
    arms.append(
        Arm("opponents_class_matched", budget, trial.without(images=_photo_control(trial, photos, seed)))
    )
    reread = trial.truth.set_index("visit_id")["reread_label"]
    for share in settings.review_shares:
        seen = default[: round(share * len(default))]
        arms.append(Arm("review", share, trial.relabelled(reread.loc[seen])))
    weights = suspicion.label_probability / suspicion.label_probability.mean()
    arms.append(Arm("down_weight", 1.0, trial, {str(visit): float(w) for visit, w in weights.items()}))
    return arms


def _oracles(trial: EncodedTrial) -> list[Arm]:
    """What perfect knowledge of the planted errors and artefacts would give."""
    wrong = trial.truth[trial.truth["label_error"]]
    share = len(wrong) / len(trial.truth)
    reread = trial.truth.set_index("visit_id")["reread_label"]
    arms = [
        Arm("oracle_removal", share, trial.without(visits=wrong["visit_id"])),
        Arm("oracle_relabel", share, trial.relabelled(reread.loc[wrong["visit_id"]])),
    ]
    if trial.artefacts_planted:
        photos = _keep_one(trial, list(trial.artefacts["image_id"]))
        arms.append(Arm("oracle_both", share, trial.without(visits=wrong["visit_id"], images=photos)))
    return arms


def opponent_photos(influence: pd.DataFrame, share: float) -> list[str]:
    """The first `share` of the training photos in the union of the queries' lists of opponents, deepened rank
    by rank (GRASP-PsONet section 2.3; of one rank the more harmful first); a visit keeps its last photo.
    """
    if not score_columns(influence):
        return []
    ranks = harm_ranks(influence, "opponents", deepest_rank=len(influence))
    best = ranks.sort_values(["rank", "harm", "image_id"], ascending=[True, False, True])
    ordered = best.drop_duplicates("image_id")["image_id"]
    visit_of = dict(zip(influence["image_id"], influence["visit_id"], strict=True))
    left = Counter(visit_of.values())
    chosen: list[str] = []
    for image_id in ordered:
        if len(chosen) == round(share * len(influence)):
            break
        if left[visit_of[image_id]] > 1:
            left[visit_of[image_id]] -= 1
            chosen.append(str(image_id))
    return chosen


def _visit_controls(trial: EncodedTrial, removed: list[str], seed: int) -> dict[str, list[str]]:
    """As many visits by chance, over all training visits and within each class of the removed ones."""
    visits = trial.visits("train")
    rng = np.random.default_rng([seed, len(removed), 13])
    shuffled = visits.iloc[rng.permutation(len(visits))]
    wanted = visits[visits["visit_id"].isin(removed)]["label"].value_counts()
    matched = shuffled[shuffled.groupby("label").cumcount() < shuffled["label"].map(wanted).fillna(0)]
    return {
        "random": list(shuffled["visit_id"].head(len(removed))),
        "class_matched": list(matched["visit_id"]),
    }


def _photo_control(trial: EncodedTrial, removed: list[str], seed: int) -> list[str]:
    """As many photos per class by chance; a visit keeps its last photo."""
    rows = trial.manifest[trial.manifest["split"] == "train"]
    rng = np.random.default_rng([seed, len(removed), 14])
    shuffled = rows.iloc[rng.permutation(len(rows))]
    shuffled = shuffled[shuffled.duplicated("visit_id", keep="last")]
    wanted = rows[rows["image_id"].isin(removed)]["label"].value_counts()
    drawn = shuffled[shuffled.groupby("label").cumcount() < shuffled["label"].map(wanted).fillna(0)]
    return list(drawn["image_id"])


def _keep_one(trial: EncodedTrial, images: list[str]) -> list[str]:
    """`images` without the first photo of each visit that would lose all of them."""
    rows = trial.manifest[(trial.manifest["split"] == "train")].sort_values("image_id")
    gone = rows["image_id"].isin(set(images))
    emptied = gone.groupby(rows["visit_id"]).transform("all")
    kept = set(rows[emptied].drop_duplicates("visit_id")["image_id"])
    return [image for image in images if image not in kept]
