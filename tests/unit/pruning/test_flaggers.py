"""Every flagger on a training record small enough to work out by hand."""

import numpy as np
import pandas as pd
import pytest

from grasp_ray.errors import ConfigError
from grasp_ray.pruning.flaggers import (
    DYNAMICS_FLAGGERS,
    IMAGE_FLAGGERS,
    INFLUENCE_FLAGGERS,
    flag,
    flag_images,
    flag_visits,
)

MARGINS = {  # visit: (epoch, margin) of each draw
    "easy": [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)],
    "forgotten": [(1, 1.0), (2, -1.0), (3, 2.0), (4, -1.0)],
    "never": [(1, -3.0), (2, -2.0), (3, -1.0), (4, -2.0)],
    "twice": [(1, -1.0), (1, 3.0), (3, 0.5)],  # drawn twice in epoch 1, then in epoch 3 only
}


def dynamics() -> pd.DataFrame:
    rows = [
        {"epoch": epoch, "visit_id": visit, "margin": margin, "loss": np.log1p(np.exp(-margin)),
         "probability_label": 1 / (1 + np.exp(-margin)), "predicted": 0}
        for visit, draws in MARGINS.items()
        for epoch, margin in draws
    ]  # fmt: skip
    return pd.DataFrame(rows)


def influence() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": ["a0", "a1", "b0"],
            "visit_id": ["a", "a", "b"],
            "self_influence": [1.0, 5.0, 2.0],
            "self_influence_sgd": [4.0, 2.0, 7.0],
            "mean_loss": [0.1, 0.2, 0.3],
            "gradient_norm": [2.0, 4.0, 3.0],
            "score:W0": [-1.0, 2.0, 0.5],
            "score:W1": [3.0, -4.0, 1.5],
        }
    )


def scores(flagger: str) -> dict[str, float]:
    frame = flag(flagger, dynamics=dynamics(), influence=influence())
    return dict(zip(frame["id"], frame["score"], strict=True))


def probability(margin: float) -> float:
    return float(1 / (1 + np.exp(-margin)))


def test_loss_and_margin_are_those_of_the_last_epoch_in_which_the_visit_was_drawn() -> None:
    assert scores("margin") == {"easy": -4.0, "forgotten": 1.0, "never": 2.0, "twice": -0.5}
    assert scores("loss")["twice"] == pytest.approx(np.log1p(np.exp(-0.5)))


def test_aum_is_the_negated_mean_margin_over_epochs() -> None:
    assert scores("aum") == pytest.approx({"easy": -2.5, "forgotten": -0.25, "never": 2.0, "twice": -0.75})


def test_forgetting_counts_falls_and_puts_the_never_learned_first() -> None:
    assert scores("forgetting") == {"easy": 0.0, "forgotten": 2.0, "never": 3.0, "twice": 0.0}


def test_el1n_is_the_early_mean_distance_to_the_label() -> None:
    """One of four epochs is early; the draws of `twice` in epoch 1 are averaged."""
    expected = 1 - np.mean([probability(-1.0), probability(3.0)])
    assert scores("el1n")["twice"] == pytest.approx(expected)
    assert scores("el1n")["easy"] == pytest.approx(1 - probability(1.0))


def test_data_maps_are_mean_and_deviation_of_the_labels_probability() -> None:
    values = [probability(margin) for _, margin in MARGINS["forgotten"]]
    assert scores("datamap_confidence")["forgotten"] == pytest.approx(-np.mean(values))
    assert scores("datamap_variability")["forgotten"] == pytest.approx(np.std(values))


def test_self_influence_is_pooled_over_the_images_of_a_visit() -> None:
    assert scores("self_influence_max") == {"a": 5.0, "b": 2.0}
    assert scores("self_influence_mean") == {"a": 3.0, "b": 2.0}
    assert scores("self_influence_sgd_max") == {"a": 4.0, "b": 7.0}
    assert scores("self_influence_sgd_mean") == {"a": 3.0, "b": 7.0}


def test_opposition_is_the_worst_score_over_queries() -> None:
    frame = flag_images(influence()).set_index(["flagger", "id"])["score"]
    assert frame["opposition"].to_dict() == {"a0": 1.0, "a1": 4.0, "b0": -0.5}
    assert frame["mean_loss"].to_dict() == {"a0": 0.1, "a1": 0.2, "b0": 0.3}


def test_without_queries_the_other_image_flaggers_remain() -> None:
    bare = influence().drop(columns=["score:W0", "score:W1"])
    assert set(flag_images(bare)["flagger"]) == set(IMAGE_FLAGGERS) - {"opposition"}


@pytest.mark.parametrize("flagger", sorted(set(DYNAMICS_FLAGGERS) - {"datamap_variability"}))
def test_a_visit_that_is_always_wrong_is_more_suspect_than_one_that_is_always_right(flagger: str) -> None:
    """High variability means ambiguous rather than wrong, so that flagger is not asked."""
    assert scores(flagger)["never"] > scores(flagger)["easy"]


def test_the_order_of_rows_changes_nothing() -> None:
    straight = flag_visits(dynamics(), influence())
    shuffled = flag_visits(
        dynamics().sample(frac=1, random_state=0), influence().sample(frac=1, random_state=0)
    )
    pd.testing.assert_frame_equal(straight, shuffled)
    assert set(straight["flagger"]) == {*DYNAMICS_FLAGGERS, *INFLUENCE_FLAGGERS}


def test_an_unknown_flagger_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="aumm is not a visit-level flagger; choose from loss, margin, aum"):
        flag("aumm", dynamics=dynamics(), influence=influence())


def test_confident_learning_is_read_from_the_influence_table_and_refused_without_it() -> None:
    table = influence().assign(label_misfit=[-0.2, -0.2, -0.9])
    found = flag("confident_learning", dynamics=dynamics(), influence=table)
    assert dict(zip(found["id"], found["score"], strict=True)) == {"a": -0.2, "b": -0.9}
    assert "confident_learning" in set(flag_visits(dynamics(), table)["flagger"])
    with pytest.raises(ConfigError, match="ImageNet weights"):
        flag("confident_learning", dynamics=dynamics(), influence=influence())
