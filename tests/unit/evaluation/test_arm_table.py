"""The tables of arms and comparisons, on predictions whose answers are known or recomputed by hand."""

import time

import numpy as np
import pandas as pd
import pytest

from grasp_ray.errors import NumericalError, RunConflictError
from grasp_ray.evaluation.arm_table import ARM_COLUMNS, COMPARISON_COLUMNS, confusion_table, judge_arms
from grasp_ray.evaluation.metrics import linear_kappa, micro_auc
from grasp_ray.evaluation.settings import EvaluateSettings

FEW = EvaluateSettings(bootstrap_draws=200)


def trial_visits(patients: int = 30, seed: int = 0) -> pd.DataFrame:
    """Two visits per patient; a third of the patients in validation, where no visit has a second reader."""
    rng = np.random.default_rng(seed)
    count = 2 * patients
    label = rng.integers(0, 3, count)
    second = np.clip(label + rng.choice([-1, 0, 0, 0, 1], count), 0, 2)
    patient = np.repeat(np.arange(patients), 2)
    split = np.where(patient < patients // 3, "validation", "test")
    return pd.DataFrame(
        {
            "visit_id": [f"V{index:03d}" for index in rng.permutation(count)],
            "patient_id": [f"P{index:03d}" for index in patient],
            "split": split,
            "label": label,
            "label_reader2": pd.array(second, dtype="Int64").copy(),
            "week": pd.array(np.tile([0, 4], patients), dtype="Int64"),
            "sex": np.where(patient % 2 == 0, "F", "M"),
            "skin_type": np.where(patient % 15 == 14, "V", "II"),
        }
    ).assign(label_reader2=lambda frame: frame["label_reader2"].mask(frame["split"] == "validation"))


def predict(visits: pd.DataFrame, arm: str, k: int, seed: int, skill: float) -> pd.DataFrame:
    rng = np.random.default_rng([k, seed, len(arm)])
    logits = rng.normal(size=(len(visits), 3))
    logits[np.arange(len(visits)), visits["label"]] += skill
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    frame = pd.DataFrame(probability, columns=[f"probability_{index}" for index in range(3)])
    frame["predicted"] = probability.argmax(axis=1)
    frame["visit_id"], frame["split"] = visits["visit_id"].to_numpy(), visits["split"].to_numpy()
    return frame.assign(arm=arm, k=k, seed=seed)


def all_arms(
    visits: pd.DataFrame, ks: tuple[int, ...] = (10, 20), seeds: tuple[int, ...] = (0, 1)
) -> pd.DataFrame:
    frames = [predict(visits, "baseline", 0, seed, 1.0) for seed in seeds]
    for k in ks:
        for arm, skill in (("influence", 3.0), ("random", 1.0), ("class_matched", 1.1)):
            frames += [predict(visits, arm, k, seed, skill) for seed in seeds]
    return pd.concat(frames, ignore_index=True)


def one(frame: pd.DataFrame, **wanted: object) -> "pd.Series[float]":
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def test_values_are_the_plain_metrics_of_the_same_visits() -> None:
    visits = trial_visits()
    predictions = all_arms(visits)
    arms = judge_arms(predictions, visits, FEW).arms
    assert list(arms.columns) == list(ARM_COLUMNS)
    chosen = visits[(visits["split"] == "test") & (visits["sex"] == "F")]
    run = predictions[(predictions["arm"] == "influence") & (predictions["k"] == 20)]
    run = run[run["seed"] == 1].set_index("visit_id").loc[chosen["visit_id"]]
    labels = chosen["label_reader2"].to_numpy(np.int64)
    key = {"arm": "influence", "k": 20, "seed": 1, "split": "test", "reader": "reader2", "group": "sex=F"}
    auc = one(arms, metric="auc", **key)
    assert auc["value"] == pytest.approx(
        micro_auc(labels, run[[f"probability_{i}" for i in range(3)]].to_numpy())
    )
    assert auc["low"] < auc["value"] < auc["high"]
    assert auc["visits"] == len(chosen)
    kappa = one(arms, metric="kappa", **key)
    assert kappa["value"] == pytest.approx(linear_kappa(labels, run["predicted"].to_numpy(), classes=3))


def test_seed_minus_one_is_the_mean_over_seeds() -> None:
    visits = trial_visits()
    arms = judge_arms(all_arms(visits), visits, FEW).arms
    key = {"arm": "random", "k": 10, "split": "test", "reader": "reader1", "group": "all", "metric": "auc"}
    seeds = [one(arms, seed=seed, **key)["value"] for seed in (0, 1)]
    assert one(arms, seed=-1, **key)["value"] == pytest.approx(np.mean(seeds))


def test_with_one_seed_the_mean_row_is_that_seeds_row() -> None:
    visits = trial_visits()
    arms = judge_arms(all_arms(visits, seeds=(7,)), visits, FEW).arms
    numbers = ["value", "low", "high", "visits"]
    keys = ["arm", "k", "split", "reader", "group", "metric"]
    alone = arms[arms["seed"] == 7].set_index(keys)[numbers].sort_index()
    mean = arms[arms["seed"] == -1].set_index(keys)[numbers].sort_index()
    pd.testing.assert_frame_equal(alone, mean)


def test_row_order_of_either_table_changes_nothing() -> None:
    visits = trial_visits()
    predictions = all_arms(visits)
    straight = judge_arms(predictions, visits, FEW)
    shuffled = judge_arms(
        predictions.sample(frac=1, random_state=1), visits.sample(frac=1, random_state=2), FEW
    )
    pd.testing.assert_frame_equal(straight.arms, shuffled.arms)
    pd.testing.assert_frame_equal(straight.comparisons, shuffled.comparisons)


def test_visits_without_the_second_reader_are_left_out_and_counted() -> None:
    visits = trial_visits()
    unread = visits.index[visits["split"] == "test"][:5]
    visits.loc[unread, "label_reader2"] = pd.NA
    arms = judge_arms(all_arms(visits), visits, FEW).arms
    rows = arms[(arms["reader"] == "reader2") & (arms["split"] == "test") & (arms["group"] == "all")]
    assert set(rows["left_out"]) == {5}
    assert set(rows["visits"]) == {int((visits["split"] == "test").sum()) - 5}


def test_what_cannot_be_measured_has_a_note_and_no_number() -> None:
    visits = trial_visits()
    arms = judge_arms(all_arms(visits), visits, FEW).arms
    small = arms[(arms["group"] == "skin_type=V") & (arms["split"] == "test")]
    assert set(small["note"]) == {"only 4 visits"}
    unread = arms[(arms["reader"] == "reader2") & (arms["split"] == "validation")]
    assert set(unread["group"]) == {"all"}
    assert set(unread["note"]) == {"no visit has a label of reader2"}
    noted = arms[arms["note"] != ""]
    assert noted[["value", "low", "high"]].isna().all(axis=None)
    assert arms.loc[arms["note"] == "", ["value", "low", "high"]].notna().all(axis=None)


def test_comparisons_pair_each_arm_with_baseline_and_influence_with_its_controls() -> None:
    visits = trial_visits()
    comparisons = judge_arms(all_arms(visits), visits, FEW).comparisons
    assert list(comparisons.columns) == list(COMPARISON_COLUMNS)
    pairs = set(comparisons[["arm", "k", "against"]].itertuples(index=False, name=None))
    expected = {(arm, k, "baseline") for arm in ("influence", "random", "class_matched") for k in (10, 20)}
    expected |= {("influence", k, control) for control in ("random", "class_matched") for k in (10, 20)}
    assert pairs == expected
    assert set(comparisons["seeds"]) == {2}


def test_suspects_are_compared_with_their_own_controls() -> None:
    visits = trial_visits()
    predictions = all_arms(visits)
    renamed = {
        "influence": "suspects",
        "random": "suspects_random",
        "class_matched": "suspects_class_matched",
    }
    other = predictions[predictions["arm"] != "baseline"]
    both = pd.concat([predictions, other.assign(arm=other["arm"].map(renamed))])
    comparisons = judge_arms(both, visits, FEW).comparisons
    ours, papers = (comparisons[comparisons["arm"] == arm] for arm in ("suspects", "influence"))
    assert set(ours["against"]) == {"baseline", "random", "class_matched"}
    pd.testing.assert_frame_equal(
        ours.drop(columns="arm").reset_index(drop=True), papers.drop(columns="arm").reset_index(drop=True)
    )


def test_a_skilled_arm_beats_the_baseline_and_a_control_does_not() -> None:
    visits = trial_visits(patients=60)
    tables = judge_arms(all_arms(visits), visits, FEW)
    key = {"split": "test", "reader": "reader1", "metric": "auc", "k": 20, "against": "baseline"}
    better = one(tables.comparisons, arm="influence", **key)
    assert better["low"] > 0
    assert better["p_holm"] < 0.05
    assert one(tables.comparisons, arm="random", **key)["p_value"] > 0.05
    means = tables.arms[(tables.arms["seed"] == -1) & (tables.arms["group"] == "all")]
    key = {"split": "test", "reader": "reader1", "metric": "auc"}
    values = [one(means, arm=arm, k=k, **key)["value"] for arm, k in (("influence", 20), ("baseline", 0))]
    assert better["difference"] == pytest.approx(values[0] - values[1])


def test_holm_spans_the_ks_of_one_question_only() -> None:
    visits = trial_visits()
    comparisons = judge_arms(all_arms(visits), visits, FEW).comparisons
    rows = comparisons[comparisons["arm"] == "random"]
    rows = rows[(rows["split"] == "test") & (rows["reader"] == "reader1") & (rows["metric"] == "auc")]
    p_values = sorted(rows["p_value"])
    first = min(1, 2 * p_values[0])
    assert sorted(rows["p_holm"]) == pytest.approx([first, max(first, p_values[1])])


def test_an_arm_that_lacks_a_visit_is_refused_by_name() -> None:
    visits = trial_visits()
    predictions = all_arms(visits)
    lost = predictions[(predictions["arm"] == "random") & (predictions["k"] == 10)].index[3]
    with pytest.raises(RunConflictError, match=r"arm random k=10 seed=0 lacks predictions for 1 of \d+"):
        judge_arms(predictions.drop(index=lost), visits, FEW)


def test_a_doubled_or_infinite_prediction_is_refused_by_name() -> None:
    visits = trial_visits()
    predictions = all_arms(visits)
    doubled = pd.concat([predictions, predictions.iloc[[4]]])
    with pytest.raises(RunConflictError, match=f"visit {predictions.iloc[4]['visit_id']} twice"):
        judge_arms(doubled, visits, FEW)
    predictions.loc[4, "probability_1"] = np.nan
    with pytest.raises(NumericalError, match=f"first: visit {predictions.iloc[4]['visit_id']}"):
        judge_arms(predictions, visits, FEW)


def test_confusion_counts_sum_to_the_visits_each_reader_labelled() -> None:
    visits = trial_visits()
    table = confusion_table(all_arms(visits), visits, FEW)
    totals = table.groupby(["split", "reader", "arm", "k", "seed"])["visits"].sum()
    assert set(totals.loc["test", "reader2"]) == {int((visits["split"] == "test").sum())}
    assert set(totals.loc["validation", "reader2"]) == {0}


def test_the_papers_size_is_judged_in_seconds() -> None:
    """69 test patients, six arms of 5 k and 2 seeds, 1000 draws, two readers, all groups."""
    visits = trial_visits(patients=100)
    predictions = all_arms(visits, ks=(100, 200, 300, 400, 500))
    started = time.process_time()
    judge_arms(predictions, visits, EvaluateSettings())
    assert time.process_time() - started < 20
