"""The study of one small trial: what arms change, that flaggers cover it, and what judging makes of it."""

import numpy as np
import pandas as pd
import pytest

from grasp_ray.evaluation.metrics import micro_auc
from grasp_ray.evaluation.settings import EvaluateSettings
from grasp_ray.evidence.arms import arms_of, opponent_photos
from grasp_ray.evidence.datamodel import datamodel_table
from grasp_ray.evidence.encoded_trial import EncodedTrial
from grasp_ray.evidence.finding import (
    agreement_rows,
    datamodel_contrasts,
    datamodel_summary,
    disagreement_rows,
    finding_rows,
    leaving_summary,
    rare_label_scores,
)
from grasp_ray.evidence.judging import arm_table, gain_table, judge_trial, nested_choice, recovery_table
from grasp_ray.evidence.leaving_out import leaving_table
from grasp_ray.evidence.network import train_network
from grasp_ray.evidence.planting import plant_label_errors, shown_artefacts
from grasp_ray.evidence.settings import EvidenceSettings
from grasp_ray.evidence.study import (
    StudySettings,
    half_of_validation,
    stability_of,
    train_arms_of,
    train_baselines,
)
from grasp_ray.influence.settings import InfluenceSettings
from grasp_ray.mil.settings import ModelSettings
from grasp_ray.storage import Storage
from grasp_ray.training.settings import TrainSettings
from grasp_ray.trial.photo_store import PhotoStore

MODEL = ModelSettings(
    encoder="test_resnet", weights="none", embedding_dim=8, attention_dim=4, head_hidden_dim=8
)
TRAIN = TrainSettings(epochs=4, learning_rate=3e-3, num_workers=1, replay_checkpoints=2)
EVIDENCE = EvidenceSettings(
    trial_seeds=(1, 2), training_seeds=1, dose_shares=(0.1,), review_shares=(0.2,), flaggers=("aum",)
)
SETTINGS = StudySettings(MODEL, TRAIN, InfluenceSettings(), EVIDENCE)


@pytest.fixture(scope="module")
def trial() -> EncodedTrial:
    """60 training visits of two photos whose features tell the class, 10 % of the labels replaced."""
    rng = np.random.default_rng(0)
    rows, features = [], []
    for split, visits in (("train", 60), ("validation", 18), ("test", 30)):
        for visit in range(visits):
            label = visit % 3
            for photo in range(2):
                visit_id = f"{split}{visit:02d}"
                rows.append((f"{visit_id}/{photo}", visit_id, f"{split}P{visit // 2:02d}", split, label))
                features.append(1.2 * np.eye(6)[label] + rng.normal(size=6))
    manifest = pd.DataFrame(rows, columns=["image_id", "visit_id", "patient_id", "split", "label"])
    planted, truth = plant_label_errors(manifest, 0.1, seed=3)
    return EncodedTrial(planted, np.array(features, dtype=np.float32), truth, pd.DataFrame())


@pytest.fixture(scope="module")
def baselines(trial, tmp_path_factory):
    store = PhotoStore(Storage.at(tmp_path_factory.mktemp("run")))  # photos are not looked at
    return train_baselines(trial, store, SETTINGS, seed=0)


@pytest.fixture(scope="module")
def predictions(trial, baselines) -> pd.DataFrame:
    return train_arms_of(trial, baselines, SETTINGS, seed=0)


def test_planting_replaces_exactly_the_share_and_remembers_the_old_label(trial) -> None:
    train = trial.visits("train").set_index("visit_id")["label"]
    truth = trial.truth.set_index("visit_id")
    assert truth["label_error"].sum() == 6
    differs = train.loc[truth.index] != truth["reread_label"]
    assert (differs == truth["label_error"]).all()


def test_artefact_flags_become_rows_of_training_photos() -> None:
    manifest = pd.DataFrame(
        {"image_id": ["a", "b", "c"], "split": ["train", "train", "test"], "artefact_ink": [1, 0, 1]}
    )
    assert shown_artefacts(manifest, "artefact_").to_dict("records") == [{"image_id": "a", "artefact": "ink"}]


def test_the_same_training_gives_the_same_weights(trial) -> None:
    first, again = (train_network(trial, MODEL, TRAIN, seed=5) for _ in range(2))
    assert all(
        (first.model.state_dict()[name] == value).all() for name, value in again.model.state_dict().items()
    )


def test_a_visit_of_weight_zero_teaches_nothing(trial) -> None:
    """Its label may be anything."""
    visit = "train00"
    other = trial.relabelled(pd.Series({visit: 2}))
    uniform = TRAIN.model_copy(update={"sampling": "uniform"})
    nets = [train_network(t, MODEL, uniform, seed=5, loss_weights={visit: 0.0}) for t in (trial, other)]
    weights = [net.checkpoints[-1].weights for net in nets]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_every_arm_changes_what_it_says(trial, baselines) -> None:
    arms = {(arm.name, arm.share): arm for arm in arms_of(
        trial, baselines.suspicion, baselines.influences[0], EVIDENCE, seed=0)}  # fmt: skip
    train = set(trial.visits("train")["visit_id"])

    def gone(name: str) -> set[str]:
        return train - set(arms[name, 0.1].trial.visits("train")["visit_id"])

    assert gone("confident_learning") == set(baselines.suspicion.ranking("confident_learning")[:6])
    assert gone("oracle_removal") == set(trial.truth.loc[trial.truth["label_error"], "visit_id"])
    labels = trial.visits("train").set_index("visit_id")["label"]
    mixes = [
        labels.loc[sorted(gone(name))].value_counts().to_dict()
        for name in ("confident_learning", "class_matched")
    ]
    assert mixes[0] == mixes[1]
    assert len(gone("random")) == 6
    assert "oracle_both" not in {name for name, _ in arms}
    corrected = arms["oracle_relabel", 0.1].trial.visits("train").set_index("visit_id")["label"]
    assert (corrected == trial.truth.set_index("visit_id")["reread_label"].loc[corrected.index]).all()
    assert np.mean(list(arms["down_weight", 1.0].loss_weights.values())) == pytest.approx(1.0)


def test_opponents_leave_rank_by_rank_and_no_visit_loses_its_last_photo() -> None:
    influence = pd.DataFrame(
        {
            "image_id": ["a0", "a1", "b0", "b1", "c0", "c1"], "visit_id": list("aabbcc"),
            "score:Q0": [-5.0, -4.0, -3.0, 1.0, 2.0, 0.5], "score:Q1": [1.0, 1.0, 1.0, 1.0, -1.0, 1.0],
            "orientation": "positive=helpful",
        }
    )  # fmt: skip
    assert opponent_photos(influence, 3 / 6) == ["a0", "c0", "b0"]  # a1 would empty visit a


def test_all_flaggers_score_all_visits_and_stability_compares_like_with_like(trial, baselines) -> None:
    visits = baselines.suspicion.visits
    assert set(visits["flagger"]) >= {"aum", "confident_learning", "knn_disagreement", "combined", "random"}
    complete = visits[visits["flagger"] == "confident_learning"]
    assert set(complete["id"]) == set(trial.visits("train")["visit_id"])
    rows = agreement_rows(stability_of(trial, baselines, SETTINGS), top_share=0.1)
    values = rows.set_index(["flagger", "pair", "metric"])["value"]
    assert values["opposition_mean", "adam, singleton", "spearman"] > 0
    assert rows["value"].between(-1, 1).all()


def test_finding_counts_hits_in_the_first_share() -> None:
    scores = pd.DataFrame({"flagger": "f", "id": list("abcdefghij"), "score": np.arange(10.0, 0, -1)})
    values = finding_rows(scores, ["a", "j"], "t").set_index("metric")["value"]
    assert values["auc"] == pytest.approx(0.5)
    assert values["recall_10%"] == 0.5
    assert values["average_precision"] == pytest.approx((1 + 2 / 10) / 2)


def test_rarer_classes_are_a_reference_for_evenly_replaced_labels() -> None:
    """Of 100 visits with 10 in class 1, ten of class 0 are called 1: half of what is called 1 is wrong."""
    labels = [1] * 20 + [0] * 80
    visits = pd.DataFrame({"visit_id": [f"V{v:03d}" for v in range(100)], "label": labels, "split": "train"})
    held_out = visits.head(5).assign(visit_id=list("abcde"), split="test", label=2)
    scores = rare_label_scores(pd.concat([visits, held_out]))
    assert len(scores) == 100
    rows = finding_rows(scores, [f"V{visit:03d}" for visit in range(10)], "t").set_index("metric")["value"]
    assert rows["average_precision"] == pytest.approx(0.5)
    assert rows["auc"] == pytest.approx(1 - 0.5 * 10 / 90)


def test_judging_is_the_mean_over_trials_of_plain_metrics(predictions) -> None:
    other = predictions.copy()
    settings = EvaluateSettings(bootstrap_draws=100)
    judged = [judge_trial(table, settings) for table in (predictions, other)]
    arms = arm_table(judged, 0.95).set_index("arm")
    test = predictions[(predictions["split"] == "test") & (predictions["arm"] == "oracle_removal")]
    expected = micro_auc(test["label"].to_numpy(), test[[f"probability_{k}" for k in range(3)]].to_numpy())
    assert arms.loc["oracle_removal", "auc"] == pytest.approx(expected)
    gains = gain_table(judged, EVIDENCE, settings).set_index(["arm", "against"])
    difference = arms.loc["oracle_removal", "auc"] - arms.loc["baseline", "auc"]
    assert gains.loc[("oracle_removal", "baseline"), "auc_gain"] == pytest.approx(difference)
    assert ("confident_learning", "class_matched") in gains.index
    if difference:
        recovery = recovery_table(judged, settings).set_index(["arm", "oracle"])["recovered"]
        assert recovery["oracle_removal", "oracle_removal"] == pytest.approx(1.0)


def test_the_share_is_chosen_without_the_test_visits(trial, predictions) -> None:
    choosing = {
        0: half_of_validation(trial.manifest, queries=False),
        1: half_of_validation(trial.manifest, queries=False),
    }
    settings = EvaluateSettings(bootstrap_draws=100)
    chosen = nested_choice({0: predictions, 1: predictions}, choosing, ["random"], settings)
    spoilt = predictions.copy()
    test = spoilt["split"] == "test"
    spoilt.loc[test, ["probability_0", "probability_2"]] = spoilt.loc[
        test, ["probability_2", "probability_0"]
    ].to_numpy()
    again = nested_choice({0: spoilt, 1: spoilt}, choosing, ["random"], settings)
    assert chosen["mean_share"].tolist() == again["mean_share"].tolist()
    assert set(choosing[0]).isdisjoint(half_of_validation(trial.manifest, queries=True))


def test_right_attribution_foretells_retraining_on_halves(trial) -> None:
    """With 24 halves of a small trial the plain TracIn score is clearly above chance."""
    small = trial.without(visits=[f"train{visit:02d}" for visit in range(30, 60)])
    table = datamodel_table(small, MODEL, TRAIN, InfluenceSettings(), subsets=24, seed=0)
    means = table.groupby(["model", "unit", "precondition", "exposure"])["lds"].mean()
    assert means["mil", "in_bag", "adam", "count"] > 0.1
    assert len(means) == 5 * 3 * 3


def test_a_score_of_several_trials_has_an_interval_over_trials() -> None:
    """Means 0.2 and 0.4 of two trials: 0.3 ± 12.706 · 0.1, however many queries each has."""
    tables = {
        trial: pd.DataFrame(
            {"model": "mil", "unit": "in_bag", "precondition": "adam", "exposure": "count",
             "query_id": [f"Q{query}" for query in range(len(values))], "lds": values}
        )
        for trial, values in {1: [0.1, 0.3], 2: [0.3, 0.4, 0.5]}.items()
    }  # fmt: skip
    row = datamodel_summary(tables, 0.95, seed=0).iloc[0]
    assert row["lds"] == pytest.approx(0.3)
    assert row["high"] - row["lds"] == pytest.approx(12.706 * 0.1, abs=1e-3)
    assert (row["queries"], row["trials"]) == (5, 2)
    alone = datamodel_summary({1: tables[1]}, 0.95, seed=0).iloc[0]
    assert (alone["low"], alone["high"]) == (0.1, 0.3)


def test_contrasts_of_scores_are_taken_within_a_trial(trial) -> None:
    small = trial.without(visits=[f"train{visit:02d}" for visit in range(24, 60)])
    table = datamodel_table(small, MODEL, TRAIN, InfluenceSettings(), subsets=4, seed=0)
    shifted = table.assign(lds=table["lds"] + 0.2)
    found = datamodel_contrasts({1: table, 2: shifted}, 0.95)
    assert np.ptp(found[["lds_gain", "low", "high"]].to_numpy(), axis=1) == pytest.approx(0, abs=1e-9)
    means = table.groupby(["model", "unit", "precondition", "exposure"])["lds"].mean()
    first = found.set_index(["model", "contrast"]).loc[("mil", "in_bag adam count − singleton adam count")]
    expected = means["mil", "in_bag", "adam", "count"] - means["mil", "singleton", "adam", "count"]
    assert first["lds_gain"] == pytest.approx(expected)


def test_a_query_fares_better_without_its_opponents_than_without_its_proponents(trial, baselines) -> None:
    influence = InfluenceSettings(query_visits="all")
    table = leaving_table(trial, baselines.networks[0], MODEL, TRAIN, influence, share=0.2, seed=0)
    assert len(table) == 18 * 5
    assert (table["visits"] == 12).all()
    by_set = table.set_index(["unit", "removed", "query_id"]).sort_index()
    for unit in ("singleton", "in_bag"):
        opponents, proponents = by_set.loc[(unit, "opponents")], by_set.loc[(unit, "proponents")]
        assert (opponents["foretold"] < proponents["foretold"]).all()
        assert opponents["loss_change"].mean() < proponents["loss_change"].mean()
    summary = leaving_summary({1: table, 2: table}, 0.95).set_index(["removed", "unit", "metric"])["value"]
    assert summary["all", "in_bag", "spearman"] > 0.3
    mean = by_set.loc[("singleton", "random"), "loss_change"].mean()
    assert summary["random", "singleton", "loss_change"] == pytest.approx(mean)


def test_disagreements_found_carry_their_interval_over_draws() -> None:
    visits = pd.DataFrame({"visit_id": [f"V{visit:02d}" for visit in range(40)]})
    visits = visits.assign(label=0, label_reader2=[1] * 8 + [0] * 32)
    scores = pd.DataFrame({"flagger": "f", "id": visits["visit_id"], "score": np.arange(40.0, 0, -1)})
    found = disagreement_rows(scores, visits, EvaluateSettings())
    values = found.set_index(["flagger", "metric"])["value"]
    assert values["f", "recall_30%"] == 1.0
    assert values["random", "draws_low"] < values["random", "recall_30%"] < values["random", "draws_high"]
    assert values["ideal", "recall_30%"] == 1.0
