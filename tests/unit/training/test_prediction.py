import numpy as np
import pytest
import torch

from grasp_ray.errors import NumericalError
from grasp_ray.mil.model import build_model
from grasp_ray.training.feeding import SplitBags
from grasp_ray.training.prediction import predict_bags
from grasp_ray.trial.photo_store import PhotoStore
from tests.planted_run import SIDE_PX, TINY_MODEL, write_planted_run


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    run = write_planted_run(tmp_path_factory.mktemp("run"))
    return SplitBags(run.read_table("manifest.parquet"), "train", PhotoStore(run))


def test_rows_carry_ids_probabilities_and_attention_that_sum_to_one(bags):
    model = build_model(TINY_MODEL, image_side_px=SIDE_PX, seed=0)
    bag = bags.read([2, 0, 1])
    result = predict_bags(model, bag)
    assert list(result.predictions.columns) == [
        "visit_id", "probability_0", "probability_1", "probability_2", "predicted",
    ]  # fmt: skip
    assert result.predictions["visit_id"].tolist() == ["V002", "V000", "V001"]
    probability = result.predictions.filter(like="probability_").to_numpy()
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-12)
    assert result.predictions["predicted"].tolist() == probability.argmax(axis=1).tolist()
    assert result.attention["image_id"].tolist() == list(bag.image_ids)
    assert result.attention["visit_id"].tolist() == ["V002"] * 3 + ["V000"] + ["V001"] * 2
    np.testing.assert_allclose(result.attention.groupby("visit_id")["attention"].sum(), 1, rtol=1e-6)


def test_a_visit_is_predicted_alike_whatever_is_beside_it(bags):
    model = build_model(TINY_MODEL, image_side_px=SIDE_PX, seed=0)
    together = predict_bags(model, bags.read([0, 1, 2])).predictions.set_index("visit_id")
    alone = predict_bags(model, bags.read([1])).predictions.set_index("visit_id")
    np.testing.assert_allclose(together.loc[["V001"]], alone, rtol=1e-5)


def test_a_model_that_is_broken_names_the_visit(bags):
    model = build_model(TINY_MODEL, image_side_px=SIDE_PX, seed=0)
    with torch.no_grad():
        model.head[-1].bias.fill_(float("inf"))
    with pytest.raises(NumericalError, match="visit V001"):
        predict_bags(model, bags.read([1, 2]))
