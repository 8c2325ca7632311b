"""From the tables of all trials to the tables of the evidence: quality, gains, choice, agreement.

Everything is first computed within a trial and then compared over trials (evaluation/across_trials.py).
Shapes: T trials, R resamples, V visits, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from jaxtyping import Float

from grasp_ray.evaluation.across_trials import (
    patient_and_trial_interval,
    recovered_share,
    sign_flip_p,
    t_interval,
)
from grasp_ray.evaluation.arm_table import probability_columns
from grasp_ray.evaluation.comparison import holm
from grasp_ray.evaluation.intervals import patient_resamples, weighted_kappa, weighted_micro_auc
from grasp_ray.evaluation.settings import EvaluateSettings
from grasp_ray.evidence.settings import EvidenceSettings

ORACLES = ("oracle_removal", "oracle_both", "oracle_relabel")
ArmKey = tuple[str, float]


@dataclass(frozen=True)
class JudgedTrial:
    """Test metrics of every arm of one trial, means over its training seeds."""

    auc: dict[ArmKey, float]
    kappa: dict[ArmKey, float]
    auc_draws_R: dict[ArmKey, Float[np.ndarray, "R"]]
    """In resamples of the trial's test patients, the same for all arms."""


def judge_trial(predictions: pd.DataFrame, settings: EvaluateSettings) -> JudgedTrial:
    """Judge one trial's arms on its test visits, reader 1's labels."""
    test = predictions[predictions["split"] == "test"].sort_values("visit_id")
    columns = probability_columns(predictions)
    auc: dict[ArmKey, float] = {}
    kappa: dict[ArmKey, float] = {}
    draws: dict[ArmKey, Float[np.ndarray, R]] = {}
    for key, rows in test.groupby(["arm", "share"]):
        per_seed = [_judge_run(run, columns, settings) for _, run in rows.groupby("seed", sort=True)]
        name = cast(ArmKey, key)
        auc[name], kappa[name] = (float(np.mean([run[part][0] for run in per_seed])) for part in (0, 1))
        draws[name] = np.mean([run[0][1:] for run in per_seed], axis=0)
    return JudgedTrial(auc, kappa, draws)


def _judge_run(
    run: pd.DataFrame, columns: list[str], settings: EvaluateSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Micro AUC on the sample and on each resample of patients; kappa on the sample."""
    weights_RV = patient_resamples(
        run["patient_id"].to_numpy(dtype=object), draws=settings.bootstrap_draws, seed=settings.seed
    )
    labels_V = run["label"].to_numpy(np.int64)
    whole_1V = np.ones((1, len(run)))
    auc_R = weighted_micro_auc(labels_V, run[columns].to_numpy(), np.vstack([whole_1V, weights_RV]))
    kappa_1 = weighted_kappa(labels_V, run["predicted"].to_numpy(np.int64), whole_1V, classes=len(columns))
    return auc_R, kappa_1


def arm_table(trials: Sequence[JudgedTrial], confidence: float) -> pd.DataFrame:
    """arm, share, auc and kappa (mean over trials) with t intervals of the AUC, trials."""
    rows = []
    for arm, share in sorted(trials[0].auc):
        auc_T = np.array([trial.auc[arm, share] for trial in trials])
        kappa = float(np.mean([trial.kappa[arm, share] for trial in trials]))
        low, high = t_interval(auc_T, confidence)
        rows.append((arm, share, float(auc_T.mean()), low, high, kappa, len(trials)))
    return pd.DataFrame(rows, columns=["arm", "share", "auc", "low", "high", "kappa", "trials"])


def gain_table(
    trials: Sequence[JudgedTrial], evidence: EvidenceSettings, settings: EvaluateSettings
) -> pd.DataFrame:
    """Differences of test AUC and kappa between arms, over trials.

    Columns: arm, share, against, auc_gain, low, high (Student's t over trials), low_patients, high_patients
    (bootstrap of trials and patients), p_value (sign flips), p_holm (Holm over the shares tried of the
    arm), kappa_gain, kappa_low, kappa_high, won (trials with a positive AUC gain), trials.
    """
    rows = []
    for arm, against in _pairs(sorted(trials[0].auc), evidence):
        gain_T = _difference([trial.auc for trial in trials], arm, against)
        kappa_T = _difference([trial.kappa for trial in trials], arm, against)
        draws_TR = np.stack([trial.auc_draws_R[arm] - trial.auc_draws_R[against] for trial in trials])
        low, high = t_interval(gain_T, settings.confidence)
        kappa_low, kappa_high = t_interval(kappa_T, settings.confidence)
        patients = patient_and_trial_interval(draws_TR, settings.confidence, seed=settings.seed)
        rows.append(
            {
                "arm": arm[0], "share": arm[1], "against": against[0], "auc_gain": gain_T.mean(),
                "low": low, "high": high, "low_patients": patients[0], "high_patients": patients[1],
                "p_value": sign_flip_p(gain_T, seed=settings.seed), "kappa_gain": kappa_T.mean(),
                "kappa_low": kappa_low, "kappa_high": kappa_high,
                "won": int((gain_T > 0).sum()), "trials": len(trials),
            }
        )  # fmt: skip
    table = pd.DataFrame(rows)
    corrected = table.groupby(["arm", "against"])["p_value"].transform(lambda p: holm(p.to_numpy(np.float64)))
    return table.assign(p_holm=corrected)


def _difference(
    values: Sequence[Mapping[ArmKey, float]], arm: ArmKey, against: ArmKey
) -> Float[np.ndarray, "T"]:
    return np.array([of_trial[arm] - of_trial[against] for of_trial in values])


def _pairs(arms: list[ArmKey], evidence: EvidenceSettings) -> list[tuple[ArmKey, ArmKey]]:
    """Every arm with the baseline; removals also with chance at the same share and class mix."""
    pairs: list[tuple[ArmKey, ArmKey]] = []
    for arm, share in arms:
        if arm == "baseline":
            continue
        pairs.append(((arm, share), ("baseline", 0.0)))
        controls = ("random", "class_matched") if arm in (evidence.default, *evidence.flaggers) else ()
        if arm == "opponents":
            controls = ("random", "opponents_class_matched")
        pairs += [((arm, share), (name, share)) for name in controls if (name, share) in arms]
    return pairs


def recovery_table(trials: Sequence[JudgedTrial], settings: EvaluateSettings) -> pd.DataFrame:
    """Share of each oracle's AUC gain that every arm reaches: arm, share, oracle, recovered, low, high."""
    aucs = [trial.auc for trial in trials]
    baseline = ("baseline", 0.0)
    rows = []
    oracles = [key for key in trials[0].auc if key[0] in ORACLES]
    for arm in sorted(trials[0].auc):
        for oracle in oracles:
            if arm == baseline:
                continue
            gains = _difference(aucs, arm, baseline), _difference(aucs, oracle, baseline)
            recovered = recovered_share(*gains, settings.confidence, seed=settings.seed)
            rows.append((*arm, oracle[0], *recovered))
    return pd.DataFrame(rows, columns=["arm", "share", "oracle", "recovered", "low", "high"])


def nested_choice(
    predictions: Mapping[int, pd.DataFrame],
    choosing_patients: Mapping[int, Sequence[str]],
    arms: Sequence[str],
    settings: EvaluateSettings,
) -> pd.DataFrame:
    """Test AUC when validation patients who gave no query choose the share (0 included): a row per arm.

    Columns: arm, auc_gain over the baseline with t interval and p over trials, mean_share (chosen).
    """
    rows = []
    for arm in arms:
        gains, shares = [], []
        for seed, table in predictions.items():
            tried = table[(table["arm"] == arm) | (table["arm"] == "baseline")]
            choosing = tried[
                (tried["split"] == "validation") & tried["patient_id"].isin(choosing_patients[seed])
            ]
            by_run = _auc_by_run(choosing).groupby("share").mean()
            chosen = float(by_run.index[int(by_run.to_numpy().argmax())])
            test = _auc_by_run(tried[tried["split"] == "test"]).groupby("share").mean()
            gains.append(test[chosen] - test[0.0])
            shares.append(chosen)
        gain_T = np.array(gains)
        low, high = t_interval(gain_T, settings.confidence)
        p_value = sign_flip_p(gain_T, seed=settings.seed)
        rows.append((arm, gain_T.mean(), low, high, p_value, float(np.mean(shares)), len(gain_T)))
    names = ["arm", "auc_gain", "low", "high", "p_value", "mean_share", "trials"]
    return pd.DataFrame(rows, columns=names)


def _auc_by_run(rows: pd.DataFrame) -> "pd.Series[float]":
    """Micro AUC by (share, seed)."""
    columns = probability_columns(rows)
    found = {
        key: float(
            weighted_micro_auc(
                run["label"].to_numpy(np.int64), run[columns].to_numpy(), np.ones((1, len(run)))
            )[0]
        )
        for key, run in rows.groupby(["share", "seed"])
    }
    return pd.Series(found).rename_axis(["share", "seed"])
