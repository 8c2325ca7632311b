"""Visits that are explained: a few of every class, the same for the same seed."""

import pandas as pd

from grasp_ray.pipeline.audit_saliency import chosen_visits

ROWS = pd.DataFrame(
    {
        "visit_id": [f"v{visit:02d}" for visit in range(20) for _ in range(2)],
        "label": [0 if visit < 12 else 1 if visit < 18 else 2 for visit in range(20) for _ in range(2)],
    }
)


def test_classes_take_turns_as_far_as_there_are_visits() -> None:
    chosen = chosen_visits(ROWS, 9, seed=0)
    assert chosen.drop_duplicates("visit_id")["label"].value_counts().to_dict() == {0: 4, 1: 3, 2: 2}
    assert len(chosen) == 18  # whole visits
    assert len(chosen_visits(ROWS, 100, seed=0)) == len(ROWS)


def test_the_choice_is_the_seeds() -> None:
    first = chosen_visits(ROWS, 6, seed=0)
    assert first.equals(chosen_visits(ROWS.sample(frac=1, random_state=1).sort_index(), 6, seed=0))
    assert set(first["visit_id"]) != set(chosen_visits(ROWS, 6, seed=1)["visit_id"])
