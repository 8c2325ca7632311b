"""score = (1/b) Σ c η ⟨g′, g⟩, with exposure by count, any or none."""

import pandas as pd
import pytest

from grasp_ray.errors import TrialError
from grasp_ray.influence.scores import ORIENTATION, combine
from grasp_ray.influence.self_influence import combine_matrices, visit_scores
from grasp_ray.influence.settings import InfluenceSettings

MANIFEST = pd.DataFrame(
    {
        "image_id": ["a1", "a2", "b1", "q1"],
        "visit_id": ["A", "A", "B", "Q"],
        "patient_id": ["P1", "P1", "P2", "P3"],
        "label": [0, 0, 1, 2],
        "split": ["train", "train", "train", "validation"],
    }
)
RECORDS = [
    {"epoch": 1, "learning_rate": 0.1, "batch_size": 4, "draws": {"A": 2, "B": 0}},
    {"epoch": 2, "learning_rate": 0.01, "batch_size": 4, "draws": {"A": 0, "B": 3}},
]
RAW = pd.DataFrame(
    {
        "image_id": ["b1", "a2", "a1", "a1", "a2", "b1"],
        "epoch": [2, 2, 2, 1, 1, 1],
        "loss": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "self_dot": [10.0, 20.0, 30.0, 40.0, 50.0, 60.0],
        "self_dot_sgd": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "dot:Q": [-8.0, 4.0, 8.0, 12.0, -16.0, 20.0],
    }
)


@pytest.mark.parametrize(
    ("exposure", "scores"),
    [
        ("count", [2 * 0.1 * 12 / 4, 2 * 0.1 * -16 / 4, 3 * 0.01 * -8 / 4]),
        ("any", [0.1 * 12 / 4, 0.1 * -16 / 4, 0.01 * -8 / 4]),
        ("none", [(0.1 * 12 + 0.01 * 8) / 4, (0.1 * -16 + 0.01 * 4) / 4, (0.1 * 20 + 0.01 * -8) / 4]),
    ],
)
def test_scores_by_hand(exposure, scores):
    frame = combine(RAW, RECORDS, MANIFEST, InfluenceSettings(exposure=exposure))
    assert list(frame["image_id"]) == ["a1", "a2", "b1"]
    assert list(frame["score:Q"]) == pytest.approx(scores)
    assert set(frame["orientation"]) == {ORIENTATION} == {"positive=helpful"}


def test_self_influence_is_not_divided_by_the_batch_size_and_losses_are_averaged():
    frame = combine(RAW, RECORDS, MANIFEST, InfluenceSettings()).set_index("image_id")
    assert frame.loc["a1", "self_influence"] == pytest.approx(2 * 0.1 * 40)
    assert frame.loc["b1", "self_influence_sgd"] == pytest.approx(3 * 0.01 * 1)
    assert frame.loc["a2", "mean_loss"] == pytest.approx(3.5)
    assert frame.loc["a2", "gradient_norm"] == pytest.approx((2**0.5 + 5**0.5) / 2)
    assert frame["draws"].to_dict() == {"a1": 2, "a2": 2, "b1": 3}
    assert frame.loc["b1", ["visit_id", "patient_id", "label"]].to_list() == ["B", "P2", 1]


def test_self_influence_that_was_not_computed_is_missing_not_zero():
    frame = combine(RAW.assign(self_dot=float("nan")), RECORDS, MANIFEST, InfluenceSettings())
    assert frame["self_influence"].isna().all()
    assert frame["self_influence_sgd"].notna().all()


def test_order_of_raw_rows_changes_no_bit():
    shuffled = RAW.sample(frac=1.0, random_state=3)
    settings = InfluenceSettings()
    pd.testing.assert_frame_equal(
        combine(RAW, RECORDS, MANIFEST, settings),
        combine(shuffled, RECORDS[::-1], MANIFEST, settings),
        check_exact=True,
    )


@pytest.mark.parametrize("raw", [RAW.iloc[1:], pd.concat([RAW, RAW.iloc[:1]])])
def test_a_missing_or_doubled_row_is_refused_by_name(raw):
    with pytest.raises(TrialError, match="1 images differ; image b1"):
        combine(raw, RECORDS, MANIFEST, InfluenceSettings())


def test_an_epoch_without_record_and_an_unknown_image_are_refused():
    with pytest.raises(TrialError, match=r"epochs \[2\] have no record"):
        combine(RAW, RECORDS[:1], MANIFEST, InfluenceSettings())
    with pytest.raises(TrialError, match="not in the manifest"):
        combine(RAW, RECORDS, MANIFEST.iloc[1:], InfluenceSettings())


def test_matrices_of_a_visit_are_weighted_like_the_diagonal():
    pairs = [
        (e, i, j, e * (1.0 if i == j else -0.5)) for e in (1, 2) for i in ("a1", "a2") for j in ("a1", "a2")
    ]
    grams = pd.DataFrame(pairs, columns=["epoch", "image_id", "other_image_id", "dot"]).assign(visit_id="A")
    found = combine_matrices(grams, RECORDS, InfluenceSettings(exposure="none"))
    assert list(found["self_influence"]) == pytest.approx([0.12, -0.06, -0.06, 0.12])
    counted = combine_matrices(grams, RECORDS, InfluenceSettings())
    assert list(counted["self_influence"]) == pytest.approx([0.2, -0.1, -0.1, 0.2])


def test_a_visits_score_is_its_largest_image():
    frame = combine(RAW, RECORDS, MANIFEST, InfluenceSettings())
    scores = visit_scores(frame)
    assert scores.to_dict("list") == {
        "visit_id": ["A", "B"],
        "image_id": ["a2", "b1"],
        "self_influence": pytest.approx([10.0, 0.3]),
    }
