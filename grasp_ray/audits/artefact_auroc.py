"""Does the model read an annotated artefact? AUROCs over visits where artefact and class agree or oppose.

One class against the rest (y = 1), an artefact s (Saab et al. 2022, Section 5), scores p(y = 1):

    overall   all visits
    aligned   {y = 1, s = 1} ∪ {y = 0, s = 0}
    robust    {y = 1, s = 0} ∪ {y = 0, s = 1}
    worst     the smaller of the AUROCs within s = 0 and within s = 1

A model that takes s for a sign of y ranks the aligned visits well and the robust ones badly; one that takes s
for a sign against y the other way round. Shapes: V visits, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.stats import fisher_exact
from sklearn.linear_model import LogisticRegression

from grasp_ray.evaluation.comparison import holm
from grasp_ray.evaluation.delong import AucEstimate, auc_test, binary_auc

NUMBERS = (
    "overall", "aligned", "robust", "worst", "gap", "gap_low", "gap_high", "p_value",
    "robust_low", "robust_high",
)  # fmt: skip


TOGETHER = "all artefacts together"


@dataclass(frozen=True)
class Artefact:
    """Which visits have an artefact, and the class it goes with in training."""

    present_V: Bool[np.ndarray, "V"]
    linked_class: int
    link: float
    """Share of that class among training visits with the artefact, minus that without it; 0 if unknown."""
    link_p: float
    """Fisher's exact p of that link, times the classes it was chosen from; 1 if unknown."""


@dataclass(frozen=True)
class ArtefactAuroc:
    """The AUROCs of one class and artefact; None where a side has too few visits, and why."""

    values: dict[str, float | None]
    note: str = ""


def artefact_auroc(
    positive_V: Bool[np.ndarray, "V"],
    artefact_V: Bool[np.ndarray, "V"],
    score_V: Float[np.ndarray, "V"],
    patients_V: np.ndarray,
    *,
    smallest_cell: int,
    confidence: float,
) -> ArtefactAuroc:
    """All AUROCs, and gap = aligned − robust with its interval and DeLong p, clustered by patient.

    The gap compares disjoint visits; it is positive when the artefact is read as a sign of the class. Each of
    the four cells (class × artefact) needs `smallest_cell` visits, at least 2.
    """
    cells = {
        "with class and artefact": positive_V & artefact_V,
        "with class, without artefact": positive_V & ~artefact_V,
        "with artefact alone": ~positive_V & artefact_V,
        "with neither": ~positive_V & ~artefact_V,
    }
    few = [f"{int(cell.sum())} {name}" for name, cell in cells.items() if cell.sum() < max(2, smallest_cell)]
    if few:
        return ArtefactAuroc(dict.fromkeys(NUMBERS), f"too few visits: {', '.join(few)}")
    agree_V = positive_V == artefact_V
    aligned = _within(agree_V, positive_V, score_V)
    robust = _within(~agree_V, positive_V, score_V)
    gap = auc_test(aligned.minus(robust), patients_V, confidence=confidence)
    robust_test = auc_test(robust, patients_V, confidence=confidence)
    values: dict[str, float | None] = {
        "overall": binary_auc(positive_V, score_V).value,
        "aligned": aligned.value,
        "robust": robust.value,
        "worst": min(_within(part, positive_V, score_V).value for part in (artefact_V, ~artefact_V)),
        "gap": gap.value,
        "gap_low": gap.low,
        "gap_high": gap.high,
        "p_value": gap.p_value,
        "robust_low": max(0.0, robust_test.low),
        "robust_high": min(1.0, robust_test.high),
    }
    return ArtefactAuroc(values)


def _within(member_V: np.ndarray, positive_V: np.ndarray, score_V: np.ndarray) -> AucEstimate:
    """The AUROC of the members, with the contributions placed among all visits."""
    part = binary_auc(positive_V[member_V], score_V[member_V])
    contribution_V = np.zeros(len(member_V))
    contribution_V[member_V] = part.contribution_V
    return AucEstimate(part.value, contribution_V)


def artefact_table(
    labels_V: Int[np.ndarray, "V"],
    probability_VK: Float[np.ndarray, "V K"],
    artefacts: Mapping[str, Artefact],
    patients_V: np.ndarray,
    class_names: Sequence[str],
    *,
    smallest_cell: int,
    confidence: float,
) -> pd.DataFrame:
    """A row per artefact and class (of two classes, the second alone).

    Columns: artefact, label, class_name, linked (whether that class is the one the artefact goes with in
    training), link and link_p (how much it does; see `Artefact`), the AUROCs, p_holm, visits, note. Only
    linked rows are tested, and training data alone decide which those are: the others are there to be read,
    and have no p_holm.
    """
    rows = []
    for name, artefact in artefacts.items():
        for label in range(len(class_names)) if len(class_names) > 2 else [1]:
            found = artefact_auroc(
                labels_V == label, artefact.present_V, probability_VK[:, label], patients_V,
                smallest_cell=smallest_cell, confidence=confidence,
            )  # fmt: skip
            row = {"artefact": name, "label": label, "class_name": class_names[label]}
            row |= {"linked": label == artefact.linked_class, **found.values}
            row |= {"link": artefact.link, "link_p": artefact.link_p}
            rows.append({**row, "visits": len(labels_V), "note": found.note})
    columns = ["artefact", "label", "class_name", "linked", "link", "link_p", *NUMBERS, "visits", "note"]
    table = pd.DataFrame(rows, columns=columns).astype({**dict.fromkeys(NUMBERS, "float64"), "linked": bool})
    table["p_holm"] = np.nan
    table.loc[table["linked"], "p_holm"] = holm(table.loc[table["linked"], "p_value"].to_numpy())
    return table


def annotated(
    flags: pd.DataFrame, labels_V: Int[np.ndarray, "V"], training_V: Bool[np.ndarray, "V"], classes: int
) -> dict[str, Artefact]:
    """Every column of `flags` (0/1, a row per visit) with the class that is most over-represented among the
    training visits that have it; an artefact that no training visit has is linked to the last class.

    Of two classes it is the second, whichever way the link goes. Two classes and several columns add
    `TOGETHER`: whether the flags alone make the second class likelier than it is among the training visits,
    by a logistic regression fitted on those.
    """
    found = {}
    labels_T = labels_V[training_V]
    for name in flags.columns:
        present_V = flags[name].to_numpy(dtype=bool)
        linked = _linked_class(present_V[training_V], labels_T, classes)
        found[str(name)] = _linked(present_V, training_V, labels_T == linked, linked, classes)
    of_class_T = labels_T == 1
    if classes == 2 and len(flags.columns) > 1 and 0 < of_class_T.sum() < len(of_class_T):
        model = LogisticRegression(max_iter=1000).fit(flags[training_V].to_numpy(), of_class_T)
        likely_V = model.predict_proba(flags.to_numpy())[:, 1] > of_class_T.mean()
        found[TOGETHER] = _linked(likely_V, training_V, of_class_T, 1, classes)
    return found


def _linked(
    present_V: np.ndarray, training_V: np.ndarray, of_class_T: np.ndarray, linked: int, classes: int
) -> Artefact:
    """The artefact with the strength of its link to a class among the training visits."""
    present_T = present_V[training_V]
    if present_T.all() or not present_T.any():
        return Artefact(present_V, linked, link=0.0, link_p=1.0)
    sides = (present_T, ~present_T)
    counts = [[int(of_class_T[side].sum()), int((~of_class_T[side]).sum())] for side in sides]
    p_value = float(fisher_exact(counts).pvalue) * (classes if classes > 2 else 1)
    link = float(of_class_T[present_T].mean() - of_class_T[~present_T].mean())
    return Artefact(present_V, linked, link=link, link_p=min(1.0, p_value))


def _linked_class(present_V: np.ndarray, labels_V: np.ndarray, classes: int) -> int:
    if classes == 2 or not present_V.any():
        return classes - 1
    overall_K = np.bincount(labels_V, minlength=classes) / len(labels_V)
    within_K = np.bincount(labels_V[present_V], minlength=classes) / present_V.sum()
    return int(np.argmax(np.where(overall_K > 0, within_K / np.maximum(overall_K, 1e-12), 0)))
