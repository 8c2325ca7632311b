import pandas as pd

from grasp_ray.influence.head import head_candidates, recall_at

EXACT = pd.DataFrame(
    {
        "image_id": ["a", "b", "c", "d", "e"],
        "score:q": [-3.0, -2.0, 0.0, 1.0, 2.0],
        "score:r": [5.0, 4.0, 3.0, 2.0, 1.0],
    }
)


def test_both_ends_of_every_list_are_candidates():
    assert head_candidates(EXACT, 1) == ["a", "e"]
    assert head_candidates(EXACT[["image_id", "score:q"]], 2) == ["a", "b", "d", "e"]
    assert head_candidates(EXACT, 10) == list("abcde")


def test_ties_go_to_the_smaller_id():
    tied = pd.DataFrame({"image_id": ["c", "a", "b"], "score:q": [0.0, 0.0, 1.0]})
    assert head_candidates(tied, 1) == ["a", "b"]


def test_recall_is_the_mean_share_of_the_exact_head():
    swapped = EXACT.assign(**{"score:q": [-3.0, 0.0, -2.0, 1.0, 2.0]})
    assert recall_at(EXACT, EXACT, 2) == 1.0
    assert recall_at(swapped, EXACT, 2) == 0.75
    assert recall_at(EXACT.tail(3), EXACT, 2) == 0.5
