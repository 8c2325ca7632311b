"""Do suspect visits come first? Share of reader disagreements found against the share of visits inspected.

GRASP-PsONet section 3.4 draws 100 doubly read visits at random with 84 agreements and 16 disagreements,
ranks them by self-influence, and finds 90.3 % of the disagreements in the top 30 %. One such draw is one
number; here the draw is repeated, and the curve is a mean with an interval over draws.
Shapes: R draws, n visits in a draw, V visits in the pool.
"""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.stats import hypergeom

from grasp_ray.errors import NumericalError
from grasp_ray.evaluation.settings import EvaluateSettings

CURVE_COLUMNS = {
    "flagger": "str", "inspected_fraction": "float64", "found_mean": "float64", "found_low": "float64",
    "found_high": "float64", "draws": "int64", "visits": "int64", "disagreements": "int64",
}  # fmt: skip
"""disagreement.parquet. `visits`, `disagreements`: how many one draw holds. `draws` is 0 where the curve is
exact: `random`, with hypergeometric quantiles, and `ideal`."""


def doubly_read(visits: pd.DataFrame) -> pd.DataFrame:
    """The visits with both readers' labels: id (= visit_id) and `positive`, whether the readers disagree."""
    both = visits[visits["label"].notna() & visits["label_reader2"].notna()].sort_values("visit_id")
    positive = both["label"].astype("int64") != both["label_reader2"].astype("int64")
    return pd.DataFrame({"id": both["visit_id"].to_numpy(), "positive": positive.to_numpy(dtype=bool)})


def why_no_curve(truth: pd.DataFrame) -> str:
    """Why `disagreement_curves` has nothing to show; '' when it has."""
    if truth.empty:
        return "no scored visit was read by two readers"
    if truth["positive"].nunique() < 2:
        agree = "disagree" if truth["positive"].iloc[0] else "agree"
        return f"the readers {agree} on all {len(truth)} doubly read visits"
    return ""


def draw_size(positives: int, negatives: int, settings: EvaluateSettings) -> tuple[int, int]:
    """Visits and disagreements in one draw: the most, up to `disagreement_visits`, that the pool allows at
    the wanted share; at least one of each kind.
    """
    share = settings.disagreement_share
    for visits in range(min(settings.disagreement_visits, positives + negatives), 1, -1):
        wanted = min(max(1, round(visits * share)), visits - 1)
        if wanted <= positives and visits - wanted <= negatives:
            return visits, wanted
    raise AssertionError("one positive and one negative always make a draw of two")


def disagreement_curves(
    scores: pd.DataFrame, truth: pd.DataFrame, settings: EvaluateSettings
) -> pd.DataFrame:
    """Curves of all flaggers over the same draws, with the `random` and `ideal` ones.

    `scores` holds flagger, id, score (higher = more suspect); `truth` id and `positive`. Visits are ranked
    by score, descending; ties by id. Visits that some flagger did not score are left out for all of them.
    Call only where `why_no_curve` of the same truth is empty. Raises `NumericalError` for a score that is not
    finite.
    """
    table = scores_by_flagger(scores, truth)
    positive_V = truth.set_index("id").loc[table.index, "positive"].to_numpy(dtype=bool)
    assert positive_V.any() and not positive_V.all(), "callers ask why_no_curve first"
    visits, disagreements = draw_size(int(positive_V.sum()), int((~positive_V).sum()), settings)
    chosen_Rn = _draws(positive_V, visits, disagreements, settings)
    curves = [_known_curves(visits, disagreements, settings.confidence)]
    for flagger in table.columns:
        order = table[flagger].to_numpy(np.float64)
        found_Rn = _found(order, positive_V, chosen_Rn)
        curves.append(_summary(str(flagger), found_Rn, settings.confidence))
    result = pd.concat(curves, ignore_index=True).assign(visits=visits, disagreements=disagreements)
    return result[list(CURVE_COLUMNS)].astype(CURVE_COLUMNS)


def scores_by_flagger(scores: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """A column of scores per flagger; rows are the ids in `truth` that every flagger scored, ascending."""
    wrong = scores[~np.isfinite(scores["score"])]
    if len(wrong):
        first = wrong.iloc[0]
        raise NumericalError(
            f"{len(wrong)} scores are not finite (first: {first['flagger']} of {first['id']}). "
            "Score those visits again, or leave the flagger out."
        )
    known = scores[scores["id"].isin(truth["id"])]
    assert not known.duplicated(["flagger", "id"]).any(), "one score per flagger and id"
    return known.pivot_table(index="id", columns="flagger", values="score").dropna().sort_index()


def found_at(curves: pd.DataFrame, inspected_share: float) -> pd.DataFrame:
    """Each flagger's row at the largest inspected fraction that does not exceed `inspected_share`."""
    within = curves[curves["inspected_fraction"] <= inspected_share + 1e-9]
    rows = within.loc[within.groupby("flagger")["inspected_fraction"].idxmax()]
    return rows.sort_values("flagger").reset_index(drop=True)


def _draws(
    positive_V: Bool[np.ndarray, "V"], visits: int, disagreements: int, settings: EvaluateSettings
) -> Int[np.ndarray, "R n"]:
    rng = np.random.default_rng([settings.seed, 3])
    positives, negatives = np.nonzero(positive_V)[0], np.nonzero(~positive_V)[0]
    return np.stack(
        [
            np.concatenate(
                [
                    rng.choice(positives, disagreements, replace=False),
                    rng.choice(negatives, visits - disagreements, replace=False),
                ]
            )
            for _ in range(settings.disagreement_draws)
        ]
    )


def _found(
    score_V: Float[np.ndarray, "V"], positive_V: Bool[np.ndarray, "V"], chosen_Rn: Int[np.ndarray, "R n"]
) -> Float[np.ndarray, "R n+1"]:
    """Share of a draw's positives among its first 0, 1, …, n ranked visits; rows of score_V ascend by id."""
    rank_V = np.empty(len(score_V), dtype=np.int64)
    rank_V[np.argsort(-score_V, kind="stable")] = np.arange(len(score_V))
    ranked_Rn = np.take_along_axis(chosen_Rn, np.argsort(rank_V[chosen_Rn], axis=1), axis=1)
    found_Rn = np.cumsum(positive_V[ranked_Rn], axis=1)
    return np.pad(found_Rn / found_Rn[:, -1:], ((0, 0), (1, 0)))


def _summary(flagger: str, found_Rn: Float[np.ndarray, "R n+1"], confidence: float) -> pd.DataFrame:
    tail = (1 - confidence) / 2
    low, high = np.quantile(found_Rn, [tail, 1 - tail], axis=0)
    visits = found_Rn.shape[1] - 1
    return pd.DataFrame(
        {
            "flagger": flagger,
            "inspected_fraction": np.arange(visits + 1) / visits,
            "found_mean": found_Rn.mean(axis=0),
            "found_low": low,
            "found_high": high,
            "draws": len(found_Rn),
        }
    )


def _known_curves(visits: int, disagreements: int, confidence: float) -> pd.DataFrame:
    """`random`: the count found is hypergeometric, its mean the diagonal. `ideal`: all found first."""
    inspected = np.arange(visits + 1)
    tail = (1 - confidence) / 2
    count = hypergeom(visits, disagreements, inspected)
    ideal = np.minimum(inspected / disagreements, 1.0)
    columns = {"inspected_fraction": inspected / visits, "draws": 0}
    random = {
        "found_mean": inspected / visits,
        "found_low": count.ppf(tail) / disagreements,
        "found_high": count.ppf(1 - tail) / disagreements,
    }
    return pd.concat(
        [
            pd.DataFrame({"flagger": "random", **columns, **random}),
            pd.DataFrame(
                {"flagger": "ideal", **columns, "found_mean": ideal, "found_low": ideal, "found_high": ideal}
            ),
        ]
    )
