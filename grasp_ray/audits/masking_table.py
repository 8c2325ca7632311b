"""AUC of every view against the full photos, the dilation curves, and baselines that see no photo."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from grasp_ray.audits.masking import View
from grasp_ray.evaluation.delong import auc_test, one_versus_rest_auc, why_no_auc

METADATA_COLUMNS = ("device", "site", "skin_type", "sex", "week")
FULL = View("full").key
LESION_AREA = "lesion area"
"""The baseline that sees nothing but the mean share of a visit's photos that is lesion."""


def probability_columns(frame: pd.DataFrame) -> list[str]:
    """probability_0 … in class order."""
    found = [str(name) for name in frame.columns if str(name).startswith("probability_")]
    return sorted(found, key=lambda name: int(name.rpartition("_")[2]))


def masking_table(
    shown: pd.DataFrame, visits: pd.DataFrame, views: Sequence[View], *, confidence: float
) -> pd.DataFrame:
    """One row per view: its AUC with interval, and the paired difference from `full`.

    `shown` has a row per view and visit (`masking_pass.show_views`); `visits` a row per visit with visit_id,
    patient_id and label. Columns: view, variant, dilation, only_class, size_matched, auc, low, high,
    difference, difference_low, difference_high, p_value (DeLong, clustered by patient), cosine, hidden_share,
    visits, note. A view without an AUC has a note that says why.
    """
    facts = visits.set_index("visit_id")
    rows = []
    full = shown[shown["view"] == FULL].sort_values("visit_id")
    labels_V = facts.loc[full["visit_id"], "label"].to_numpy(dtype=np.int64)
    patients_V = facts.loc[full["visit_id"], "patient_id"].to_numpy()
    reason = why_no_auc(labels_V)
    columns = probability_columns(shown)
    reference = None if reason else one_versus_rest_auc(labels_V, full[columns].to_numpy())
    for view in views:
        part = shown[shown["view"] == view.key].sort_values("visit_id")
        assert part["visit_id"].tolist() == full["visit_id"].tolist(), "every view shows the same visits"
        row = {
            "view": view.key,
            "variant": view.variant,
            "dilation": view.dilation,
            "only_class": -1 if view.only_class is None else view.only_class,
            "size_matched": view.size_matched,
            **dict.fromkeys(_NUMBERS, np.nan),
            "cosine": float(part["cosine"].mean()),
            "hidden_share": float(part["hidden_share"].mean()),
            "visits": len(part),
            "note": reason,
        }
        if reference is not None:
            estimate = one_versus_rest_auc(labels_V, part[columns].to_numpy())
            found = auc_test(estimate, patients_V, confidence=confidence)
            moved = auc_test(estimate.minus(reference), patients_V, confidence=confidence)
            row |= {"auc": found.value, "low": max(0.0, found.low), "high": min(1.0, found.high)}
            row |= {"difference": moved.value, "difference_low": moved.low, "difference_high": moved.high}
            row["p_value"] = np.nan if view.key == FULL else moved.p_value
        rows.append(row)
    return pd.DataFrame(rows)


_NUMBERS = ("auc", "low", "high", "difference", "difference_low", "difference_high", "p_value")


def drift_by_class(shown: pd.DataFrame, visits: pd.DataFrame) -> pd.DataFrame:
    """view, label (−1: all), cosine, visits: mean cosine of the embedding with that of the full photos."""
    joined = shown.merge(visits[["visit_id", "label"]], on="visit_id")
    by_class = joined.groupby(["view", "label"])["cosine"].agg(cosine="mean", visits="size").reset_index()
    overall = joined.groupby("view")["cosine"].agg(cosine="mean", visits="size").reset_index()
    return pd.concat([overall.assign(label=-1), by_class], ignore_index=True)


def photo_free_baselines(
    train: pd.DataFrame, held_out: pd.DataFrame, features: dict[str, Sequence[str]], *, confidence: float
) -> pd.DataFrame:
    """AUC of a logistic regression that sees columns of the visits and no photo: feature set, auc, low, high,
    visits, note.

    Fitted on training visits, judged on held-out ones; both need visit_id, patient_id, label. Text columns
    are one-hot with a level of their own for missing; numeric ones have their mean filled in.
    """
    labels_V = held_out["label"].to_numpy(dtype=np.int64)
    classes = int(max(train["label"].max(), labels_V.max(initial=0))) + 1
    rows = []
    for name, columns in features.items():
        used = [column for column in columns if column in train and train[column].notna().any()]
        varied = [column for column in used if len(train[column].unique()) > 1]
        note = why_no_auc(labels_V) or ("" if varied else f"the trial has no varying {' or '.join(columns)}")
        if not note and train["label"].nunique() < 2:
            note = "one class: all training visits"
        row = {"features": name, "auc": np.nan, "low": np.nan, "high": np.nan, "visits": len(held_out)}
        if not note:
            both = pd.concat([train[varied], held_out[varied]], ignore_index=True)
            design = _design(both)
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
            model.fit(design[: len(train)], train["label"].to_numpy(dtype=np.int64))
            probability_VK = np.zeros((len(held_out), classes))
            probability_VK[:, model.classes_] = model.predict_proba(design[len(train) :])
            estimate = one_versus_rest_auc(labels_V, probability_VK)
            found = auc_test(estimate, held_out["patient_id"].to_numpy(), confidence=confidence)
            row |= {"auc": found.value, "low": max(0.0, found.low), "high": min(1.0, found.high)}
        rows.append({**row, "note": note})
    return pd.DataFrame(rows)


def _design(frame: pd.DataFrame) -> np.ndarray:
    text = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    numeric = frame.drop(columns=text).astype("float64")
    levels = [
        pd.get_dummies(frame[name].astype("object"), dummy_na=True, dtype="float64").add_prefix(f"{name}=")
        for name in text
    ]
    design = pd.concat([numeric.fillna(numeric.mean()), *levels], axis=1)
    return design.to_numpy(dtype=np.float64)
