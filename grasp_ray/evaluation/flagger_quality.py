"""How well scores find what is known to be wrong: AUC, average precision and recall of a first share.

All three are computed for every bootstrap resample at once, with the scores sorted once. Shapes: R resamples,
M examples.
"""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from grasp_ray.evaluation.disagreement import scores_by_flagger
from grasp_ray.evaluation.intervals import (
    MAX_ELEMENTS,
    patient_resamples,
    percentile_interval,
    weighted_auc,
)
from grasp_ray.evaluation.settings import EvaluateSettings

QUALITY_METRICS = ("auc", "average_precision", "recall")

QUALITY_COLUMNS = {
    "flagger": "str", "metric": "str", "value": "float64", "low": "float64", "high": "float64",
    "examples": "int64", "positives": "int64", "left_out": "int64", "note": "str",
}  # fmt: skip
"""`metric`: auc | average_precision | recall. `left_out`: ids of the truth that some flagger did not score.
`note`: why `value` is null."""


def flagger_quality(scores: pd.DataFrame, truth: pd.DataFrame, settings: EvaluateSettings) -> pd.DataFrame:
    """AUC, average precision and recall at `inspected_share` of each flagger, with bootstrap intervals.

    `scores` holds flagger, id, score (higher = more suspect); `truth` id, `positive` and, where examples of
    one patient belong together, `patient_id`: the resamples then draw patients. All flaggers are judged on
    the ids that every one of them scored, and on the same resamples. Chance is 0.5 for AUC,
    positives/examples for average precision and `inspected_share` for recall.
    """
    table = scores_by_flagger(scores, truth)
    known = truth.set_index("id").loc[table.index]
    positive_M = known["positive"].to_numpy(dtype=bool)
    counts = {
        "examples": len(known), "positives": int(positive_M.sum()), "left_out": len(truth) - len(known)
    }  # fmt: skip
    note = _why_undefined(positive_M)
    rows: list[dict[str, object]] = []
    if note:
        for flagger in sorted(scores["flagger"].unique()):
            rows += [
                {"flagger": flagger, "metric": metric, "note": note, **counts} for metric in QUALITY_METRICS
            ]
        return pd.DataFrame(rows, columns=list(QUALITY_COLUMNS)).astype(QUALITY_COLUMNS)
    clusters = known.get("patient_id", known.index)
    weights_RM = patient_resamples(
        np.asarray(clusters, dtype=object), draws=settings.bootstrap_draws, seed=settings.seed
    )
    for flagger in table.columns:
        score_M = table[flagger].to_numpy(np.float64)
        for metric, (value, draws_R) in _resampled(score_M, positive_M, weights_RM, settings).items():
            low, high = percentile_interval(draws_R, settings.confidence) or (None, None)
            rows.append(
                {"flagger": flagger, "metric": metric, "value": value, "low": low, "high": high,
                 "note": "", **counts}
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(QUALITY_COLUMNS)).astype(QUALITY_COLUMNS)


def _why_undefined(positive_M: Bool[np.ndarray, "M"]) -> str:
    if len(positive_M) == 0:
        return "no example has both a score and a known truth"
    if positive_M.all() or not positive_M.any():
        return f"all {len(positive_M)} examples are {'wrong' if positive_M.all() else 'right'}"
    return ""


def _resampled(
    score_M: Float[np.ndarray, "M"],
    positive_M: Bool[np.ndarray, "M"],
    weights_RM: Float[np.ndarray, "R M"],
    settings: EvaluateSettings,
) -> dict[str, tuple[float, Float[np.ndarray, "R"]]]:
    """Each metric's value on the sample and in each resample, a bounded block of resamples at a time."""
    found: dict[str, list[np.ndarray]] = {metric: [] for metric in QUALITY_METRICS}
    rows = max(1, MAX_ELEMENTS // len(score_M))
    sample_and_resamples = [np.ones((1, len(score_M)))]
    sample_and_resamples += [weights_RM[start : start + rows] for start in range(0, len(weights_RM), rows)]
    for block_RM in sample_and_resamples:
        found["auc"].append(
            weighted_auc(
                score_M[positive_M],
                score_M[~positive_M],
                block_RM,
                positive_owner=np.nonzero(positive_M)[0],
                negative_owner=np.nonzero(~positive_M)[0],
            )
        )
        found["average_precision"].append(weighted_average_precision(score_M, positive_M, block_RM))
        found["recall"].append(
            weighted_recall(score_M, positive_M, block_RM, inspected_share=settings.inspected_share)
        )
    joined = {metric: np.concatenate(blocks) for metric, blocks in found.items()}
    return {metric: (float(values[0]), values[1:]) for metric, values in joined.items()}


def weighted_average_precision(
    score_M: Float[np.ndarray, "M"], positive_M: Bool[np.ndarray, "M"], weights_RM: Float[np.ndarray, "R M"]
) -> Float[np.ndarray, "R"]:
    """Σ over distinct scores of (recall gained) · precision, per resample; NaN without a positive.

    Examples of equal score are inspected together, as in scikit-learn.
    """
    order_M = np.argsort(-score_M, kind="stable")
    last_of_tie = np.nonzero(np.diff(score_M[order_M], append=-np.inf))[0]
    ranked_MR = weights_RM.T[order_M]
    inspected_TR = np.cumsum(ranked_MR, axis=0)[last_of_tie]
    hits_TR = np.cumsum(ranked_MR * positive_M[order_M, None], axis=0)[last_of_tie]
    gained_TR = np.diff(hits_TR, axis=0, prepend=0)
    precision_TR = hits_TR / np.maximum(inspected_TR, 1)  # weights are counts: 0 or at least 1
    return _share(np.sum(gained_TR * precision_TR, axis=0), hits_TR[-1])


def weighted_recall(
    score_M: Float[np.ndarray, "M"],
    positive_M: Bool[np.ndarray, "M"],
    weights_RM: Float[np.ndarray, "R M"],
    *,
    inspected_share: float,
) -> Float[np.ndarray, "R"]:
    """Share of positives among the first `inspected_share` of each resample; equal scores in row order."""
    order_M = np.argsort(-score_M, kind="stable")
    ranked_MR = weights_RM.T[order_M]
    inspected_MR = np.cumsum(ranked_MR, axis=0)
    within_MR = inspected_MR <= inspected_share * inspected_MR[-1] + 1e-9
    hits_MR = ranked_MR * positive_M[order_M, None]
    return _share(np.sum(hits_MR * within_MR, axis=0), hits_MR.sum(axis=0))


def _share(part_R: Float[np.ndarray, "R"], whole_R: Float[np.ndarray, "R"]) -> Float[np.ndarray, "R"]:
    return np.where(whole_R > 0, part_R / np.maximum(whole_R, 1), np.nan)
