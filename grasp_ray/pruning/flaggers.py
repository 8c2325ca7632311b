"""Scores that flag suspect training visits or images, all oriented higher = more suspect.

`confident_learning` is how badly a label fits its visit's photos (embedding_flaggers.py); where it was
computed, the influence table carries it on every photo of the visit as `label_misfit`.

From the training's own record (the dynamics table: a row per draw of a visit) and from the influence table (a
row per image). With l = loss, m = logit of the label minus the largest other, p = probability of the label,
averaged over the draws of a visit in one epoch, and epochs in which the visit was drawn, in order:

    loss, margin            l and −m in the last epoch
    aum                     −mean m over epochs                          (Pleiss et al. 2020, negated)
    forgetting              epochs with m ≤ 0 right after one with m > 0 (Toneva et al. 2019); a visit that
                            was never right gets one more than the largest count
    el1n                    mean 1 − p = ½‖softmax − onehot‖₁ over the first tenth of epochs: the L1 sibling
                            of EL2N (Paul et al. 2021), whose L2 norm needs all K probabilities
    datamap_confidence      −mean p over epochs                          (Swayamdipta et al. 2020, negated)
    datamap_variability     standard deviation of p over epochs          (same)

and, over the images of a visit, the maximum or mean of

    self_influence          under the run's preconditioner; `_sgd` under plain gradients, Σ_t c_t η_t ‖g_t‖²
    gradient_norm           mean ‖g_t‖ over checkpoints (GraNd, Paul et al. 2021)
    opposition              largest −score over the queries: an opponent of a misclassified visit
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from grasp_ray.errors import ConfigError
from grasp_ray.pruning.ranking import score_columns

LABEL_MISFIT = "label_misfit"
"""The influence table's column, missing when the encoder began with random weights."""

EARLY_SHARE = 0.1
"""Share of the training's epochs that counts as early."""

DynamicsFlagger = Literal[
    "loss", "margin", "aum", "forgetting", "el1n", "datamap_confidence", "datamap_variability"
]
InfluenceFlagger = Literal[
    "self_influence_max", "self_influence_mean", "self_influence_sgd_max", "self_influence_sgd_mean",
    "gradient_norm_max", "gradient_norm_mean", "opposition_max", "opposition_mean",
]  # fmt: skip
LabelFlagger = Literal["confident_learning"]
ImageFlagger = Literal["self_influence", "self_influence_sgd", "mean_loss", "gradient_norm", "opposition"]

DYNAMICS_FLAGGERS: tuple[DynamicsFlagger, ...] = get_args(DynamicsFlagger)
LABEL_FLAGGERS: tuple[LabelFlagger, ...] = ("confident_learning",)
INFLUENCE_FLAGGERS: tuple[InfluenceFlagger, ...] = get_args(InfluenceFlagger)
IMAGE_FLAGGERS: tuple[ImageFlagger, ...] = get_args(ImageFlagger)


def label_flagger(flagger: str, influence: pd.DataFrame) -> str:
    """The flagger that a setting names; `auto` is `confident_learning` where it was computed, else `loss`."""
    if flagger != "auto":
        return flagger
    return "confident_learning" if LABEL_MISFIT in influence else "loss"


def flag(flagger: str, *, dynamics: pd.DataFrame, influence: pd.DataFrame) -> pd.DataFrame:
    """One visit-level flagger's scores: id (visit), score; ascending by id.

    A visit that was never drawn has no dynamics and is missing from those flaggers. Raises `ConfigError` for
    a name that is not a visit-level flagger.
    """
    if flagger in DYNAMICS_FLAGGERS:
        score = _DYNAMICS[flagger](_per_epoch(dynamics))
    elif flagger in LABEL_FLAGGERS:
        _require_label_misfit(influence)
        score = influence.groupby("visit_id", sort=True)[LABEL_MISFIT].first()
    elif flagger in INFLUENCE_FLAGGERS:
        column, _, how = flagger.rpartition("_")
        by_visit = _with_opposition(influence).groupby("visit_id", sort=True)[column]
        score = by_visit.max() if how == "max" else by_visit.mean()
    else:
        known = ", ".join((*DYNAMICS_FLAGGERS, *INFLUENCE_FLAGGERS, *LABEL_FLAGGERS))
        raise ConfigError(f"{flagger} is not a visit-level flagger; choose from {known}.")
    return pd.DataFrame({"id": score.index.to_numpy(), "score": score.to_numpy(dtype=np.float64)})


def flag_visits(dynamics: pd.DataFrame, influence: pd.DataFrame) -> pd.DataFrame:
    """All visit-level flaggers in one long table: flagger, id (visit), score.

    Those whose column the influence table lacks are left out (`opposition` without queries, say).
    """
    columns = _with_opposition(influence).columns
    known: list[str] = [name for name in INFLUENCE_FLAGGERS if name.rpartition("_")[0] in columns]
    known += LABEL_FLAGGERS if LABEL_MISFIT in columns else ()
    return _stack(
        {name: flag(name, dynamics=dynamics, influence=influence) for name in (*DYNAMICS_FLAGGERS, *known)}
    )


def flag_images(influence: pd.DataFrame) -> pd.DataFrame:
    """All image-level flaggers in one long table: flagger, id (image), score.

    All but `opposition` are columns of the influence table; what it lacks is left out.
    """
    ordered = _with_opposition(influence).sort_values("image_id")
    scores = {name: ordered[name] for name in IMAGE_FLAGGERS if name in ordered}
    ids = ordered["image_id"].to_numpy()
    return _stack(
        {
            name: pd.DataFrame({"id": ids, "score": score.to_numpy(dtype=np.float64)})
            for name, score in scores.items()
        }
    )


def _require_label_misfit(influence: pd.DataFrame) -> None:
    if LABEL_MISFIT not in influence:
        raise ConfigError(
            "confident_learning needs features of an encoder that has seen other photos: set model.weights "
            "to ImageNet weights and score again, or choose another flagger."
        )


def _with_opposition(influence: pd.DataFrame) -> pd.DataFrame:
    columns = score_columns(influence)
    return influence.assign(opposition=-influence[columns].min(axis=1)) if columns else influence


def _stack(frames: Mapping[Any, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([frame.assign(flagger=name) for name, frame in frames.items()], ignore_index=True)[
        ["flagger", "id", "score"]
    ]


def _per_epoch(dynamics: pd.DataFrame) -> pd.DataFrame:
    """Means over a visit's draws in one epoch, by (visit_id, epoch); `early`: the first epochs of its own."""
    columns = ["loss", "margin", "probability_label"]
    epochs = dynamics.groupby(["visit_id", "epoch"], sort=True)[columns].mean().reset_index()
    early_epochs = max(1, round(EARLY_SHARE * dynamics["epoch"].nunique()))
    return epochs.assign(early=epochs.groupby("visit_id").cumcount() < early_epochs)


def _last(column: str) -> Callable[[pd.DataFrame], "pd.Series[float]"]:
    return lambda epochs: epochs.groupby("visit_id")[column].last()


def _forgetting(epochs: pd.DataFrame) -> "pd.Series[float]":
    right = epochs["margin"] > 0
    was_right = right.groupby(epochs["visit_id"]).shift(fill_value=False)
    events = (was_right & ~right).groupby(epochs["visit_id"]).sum()
    never_right = ~right.groupby(epochs["visit_id"]).any()
    return events.mask(never_right, events.max() + 1).astype("float64")


def _early_error(epochs: pd.DataFrame) -> "pd.Series[float]":
    early = epochs[epochs["early"]]
    return (1 - early["probability_label"]).groupby(early["visit_id"]).mean()


_DYNAMICS: dict[str, Callable[[pd.DataFrame], "pd.Series[float]"]] = {
    "loss": _last("loss"),
    "margin": lambda epochs: -_last("margin")(epochs),
    "aum": lambda epochs: -epochs.groupby("visit_id")["margin"].mean(),
    "forgetting": _forgetting,
    "el1n": _early_error,
    "datamap_confidence": lambda epochs: -epochs.groupby("visit_id")["probability_label"].mean(),
    "datamap_variability": lambda epochs: epochs.groupby("visit_id")["probability_label"].std(ddof=0),
}
