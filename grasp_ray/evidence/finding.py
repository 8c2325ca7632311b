"""How well each flagger finds what is wrong, and how far flaggers agree, over all trials."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from grasp_ray.evaluation.across_trials import sign_flip_p, t_interval
from grasp_ray.evaluation.disagreement import disagreement_curves, doubly_read, found_at, why_no_curve
from grasp_ray.evaluation.flagger_quality import weighted_average_precision, weighted_recall
from grasp_ray.evaluation.intervals import weighted_auc
from grasp_ray.evaluation.settings import EvaluateSettings

INSPECTED = (0.10, 0.20, 0.30)


def finding_rows(scores: pd.DataFrame, positive_ids: Iterable[str], target: str) -> pd.DataFrame:
    """One trial: target, flagger, metric (auc, average_precision, recall at 10/20/30 %), value.

    Recall inspects the first share of all ids by score; equal scores in order of id. Empty when nothing, or
    everything, is positive.
    """
    wanted = set(positive_ids)
    rows = []
    for flagger, of_flagger in scores.groupby("flagger", sort=True):
        ordered = of_flagger.sort_values("id")
        score_M = ordered["score"].to_numpy(np.float64)
        positive_M = ordered["id"].isin(wanted).to_numpy()
        if not positive_M.any() or positive_M.all():
            continue
        for metric, value in _metrics(score_M, positive_M).items():
            rows.append((target, str(flagger), metric, value))
    return pd.DataFrame(rows, columns=["target", "flagger", "metric", "value"])


def _metrics(score_M: np.ndarray, positive_M: np.ndarray) -> dict[str, float]:
    once_1M = np.ones((1, len(score_M)))
    found = {
        "auc": weighted_auc(
            score_M[positive_M],
            score_M[~positive_M],
            once_1M,
            positive_owner=np.nonzero(positive_M)[0],
            negative_owner=np.nonzero(~positive_M)[0],
        ),
        "average_precision": weighted_average_precision(score_M, positive_M, once_1M),
    }
    for share in INSPECTED:
        found[f"recall_{share:.0%}"] = weighted_recall(score_M, positive_M, once_1M, inspected_share=share)
    return {name: float(value[0]) for name, value in found.items()}


def rare_label_scores(visits: pd.DataFrame) -> pd.DataFrame:
    """A reference for planted errors: the rarer a visit's class in training, the more suspect.

    Evenly replaced labels move visits from frequent classes to rare ones, so this alone beats chance.
    """
    train = visits[visits["split"] == "train"]
    share = train["label"].map(train["label"].value_counts(normalize=True))
    return pd.DataFrame({"flagger": "rare_label", "id": train["visit_id"], "score": -share})


def artefact_rows(scores: pd.DataFrame, artefacts: pd.DataFrame) -> pd.DataFrame:
    """`finding_rows` for any artefact and for each kind, against photos that show none."""
    shown = set(artefacts["image_id"])
    frames = [finding_rows(scores, shown, "artefact")]
    for kind, rows in artefacts.groupby("artefact", sort=True):
        others = shown - set(rows["image_id"])
        frames.append(finding_rows(scores[~scores["id"].isin(others)], rows["image_id"], f"artefact: {kind}"))
    return pd.concat(frames, ignore_index=True)


def disagreement_rows(scores: pd.DataFrame, visits: pd.DataFrame, settings: EvaluateSettings) -> pd.DataFrame:
    """One trial: share of reader disagreements among the first `inspected_share`, a mean over 84:16 draws.

    Metrics: `recall_30%`, say, and the ends of its interval over the draws, `draws_low` and `draws_high`.
    """
    scored = visits[visits["visit_id"].isin(scores["id"])]
    truth = doubly_read(scored)
    if why_no_curve(truth):
        return pd.DataFrame(columns=["target", "flagger", "metric", "value"])
    found = found_at(disagreement_curves(scores, truth, settings), settings.inspected_share)
    metrics = {
        f"recall_{settings.inspected_share:.0%}": "found_mean",
        "draws_low": "found_low",
        "draws_high": "found_high",
    }
    frames = [
        pd.DataFrame({"flagger": found["flagger"], "metric": metric, "value": found[column]})
        for metric, column in metrics.items()
    ]
    return pd.concat(frames, ignore_index=True).assign(target="reader disagreement")


def over_trials(rows: pd.DataFrame, keys: Sequence[str], confidence: float) -> pd.DataFrame:
    """Mean of `value` over trials with a t interval, by `keys`: …, value, low, high, trials."""
    found = []
    for key, of_key in rows.groupby(list(keys), sort=True):
        values_T = of_key["value"].to_numpy(np.float64)
        low, high = t_interval(values_T, confidence) if len(values_T) > 1 else (np.nan, np.nan)
        found.append((*key, float(values_T.mean()), low, high, len(values_T)))
    return pd.DataFrame(found, columns=[*keys, "value", "low", "high", "trials"])


def agreement_rows(scores: pd.DataFrame, *, top_share: float) -> pd.DataFrame:
    """One trial: how far two sources of a flagger agree: flagger, pair, metric (spearman, jaccard), value.

    `scores` as `study.stability_of` gives them. Pairs: each training seed with the first, and each kind of
    influence with `adam`. Jaccard is of the first `top_share`; chance is about top_share / (2 − top_share).
    """
    rows = []
    for flagger, of_flagger in scores.groupby("flagger", sort=True):
        table = of_flagger.pivot_table(index="id", columns="source", values="score").dropna()
        seeds = sorted(str(name) for name in table if str(name).startswith("seed="))
        pairs = [(seeds[0], other) for other in seeds[1:]]
        pairs += [
            ("adam", str(other)) for other in table if "adam" in table and other not in (*seeds, "adam")
        ]
        for first, second in pairs:
            pair = "another seed" if first in seeds else f"adam, {second}"
            for metric, value in _agreement(table[first], table[second], top_share).items():
                rows.append((str(flagger), pair, metric, value))
    found = pd.DataFrame(rows, columns=["flagger", "pair", "metric", "value"])
    return found.groupby(["flagger", "pair", "metric"])["value"].mean().reset_index()


def _agreement(first: "pd.Series[float]", second: "pd.Series[float]", top_share: float) -> dict[str, float]:
    count = max(1, round(top_share * len(first)))
    tops = [set(one.sort_values(ascending=False, kind="stable").index[:count]) for one in (first, second)]
    return {
        "spearman": float(spearmanr(first, second).statistic),
        "jaccard": len(tops[0] & tops[1]) / len(tops[0] | tops[1]),
    }


def datamodel_summary(tables: Mapping[int, pd.DataFrame], confidence: float, *, seed: int) -> pd.DataFrame:
    """Mean LDS by model, unit, preconditioner and exposure: a mean over queries, then over trials.

    Columns: …, lds, low, high (Student's t over trials; of one trial, percentiles over resampled queries),
    queries, trials.
    """
    pooled = pd.concat([table.assign(trial=trial) for trial, table in tables.items()], ignore_index=True)
    keys = ["model", "unit", "precondition", "exposure"]
    of_trial = pooled.groupby([*keys, "trial"])["lds"].mean().reset_index(name="value")
    found = over_trials(of_trial, keys, confidence)
    if len(tables) == 1:
        wide = pooled.pivot_table(index="query_id", columns=keys, values="lds")[
            list(found[keys].itertuples(index=False, name=None))
        ]
        values_QC = wide.to_numpy()
        chosen_RQ = np.random.default_rng([seed, 8]).integers(0, len(values_QC), (2000, len(values_QC)))
        mean_RC = np.stack([values_QC[chosen_Q].mean(axis=0) for chosen_Q in chosen_RQ])
        tail = (1 - confidence) / 2
        found["low"], found["high"] = np.quantile(mean_RC, [tail, 1 - tail], axis=0)
    queries = pooled.groupby(keys)["query_id"].size().reset_index(name="queries")
    return found.rename(columns={"value": "lds"}).merge(queries, on=keys)


def datamodel_contrasts(tables: Mapping[int, pd.DataFrame], confidence: float) -> pd.DataFrame:
    """Differences of mean LDS within a trial that decide defaults, over trials.

    Columns: model, contrast, lds_gain, low, high (t over trials), p_value (sign flips), won, trials.
    """
    of_trial = {
        trial: table.groupby(["model", "unit", "precondition", "exposure"])["lds"].mean()
        for trial, table in tables.items()
    }
    rows = []
    for model, first, second in _LDS_CONTRASTS:
        gain_T = np.array([mean[(model, *first)] - mean[(model, *second)] for mean in of_trial.values()])
        low, high = t_interval(gain_T, confidence)
        contrast = f"{' '.join(first)} − {' '.join(second)}"
        row = (model, contrast, float(gain_T.mean()), low, high, sign_flip_p(gain_T))
        rows.append((*row, int((gain_T > 0).sum()), len(gain_T)))
    names = ["model", "contrast", "lds_gain", "low", "high", "p_value", "won", "trials"]
    return pd.DataFrame(rows, columns=names)


_OTHERS = (("adam", "none"), ("sgd", "count"), ("less", "none"), ("ekfac", "count"))
_LDS_CONTRASTS: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
    ("mil", ("in_bag", "adam", "count"), ("singleton", "adam", "count")),
    *(
        (model, (unit, "adam", "count"), (unit, *other))
        for model, unit in (("mil", "in_bag"), ("plain", "singleton"))
        for other in _OTHERS
    ),
]


def leaving_summary(tables: Mapping[int, pd.DataFrame], confidence: float) -> pd.DataFrame:
    """What happened to queries' losses when visits left, means over a trial's queries, then over trials.

    Columns: removed, unit, metric, value, low, high, trials. Metrics: `loss_change`; `loss_fell`, the share
    of queries whose loss fell; for all sets together (`removed` = all) `spearman` between foretold and found.
    """
    rows = []
    for table in tables.values():
        for (removed, unit), of_set in table.groupby(["removed", "unit"]):
            rows.append((removed, unit, "loss_change", float(of_set["loss_change"].mean())))
            rows.append((removed, unit, "loss_fell", float((of_set["loss_change"] < 0).mean())))
        for unit, of_unit in table[table["removed"] != "random"].groupby("unit"):
            agreement = float(spearmanr(of_unit["foretold"], of_unit["loss_change"]).statistic)
            rows.append(("all", unit, "spearman", agreement))
    long = pd.DataFrame(rows, columns=["removed", "unit", "metric", "value"])
    return over_trials(long, ["removed", "unit", "metric"], confidence)
