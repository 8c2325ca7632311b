"""k is chosen by validation AUC against reader 1, and by nothing else."""

import pandas as pd
import pytest

from grasp_ray.errors import RunConflictError
from grasp_ray.evaluation.choice import choose_k


def arms(values: dict[tuple[str, int], float | None], low: float = 0.0) -> pd.DataFrame:
    rows = [
        {"arm": arm, "k": k, "seed": -1, "split": "validation", "reader": "reader1", "group": "all",
         "metric": "auc", "value": value, "low": low, "high": 1.0, "visits": 64, "note": ""}
        for (arm, k), value in values.items()
    ]  # fmt: skip
    return pd.DataFrame(rows).astype({"value": "float64"})


def test_the_papers_validation_aucs_choose_300() -> None:
    published = {100: 0.814, 200: 0.826, 300: 0.892, 400: 0.787, 500: 0.766}
    table = arms({("influence", k): value for k, value in published.items()}, low=0.85)
    chosen = choose_k(table)
    assert (chosen.k, chosen.validation_auc) == (300, 0.892)
    assert chosen.reason == (
        "K = 300 has the highest validation AUC against reader 1: 0.892 on 64 visits. "
        "The next is k = 200 with 0.826."
    )


def test_only_mean_validation_auc_of_baseline_and_influence_counts() -> None:
    table = arms({("baseline", 0): 0.80, ("influence", 10): 0.81, ("random", 20): 0.99})
    tempting = pd.concat(
        [
            arms({("influence", 20): 0.95}).assign(**{column: value})
            for column, value in [
                ("split", "test"), ("reader", "reader2"), ("group", "sex=F"), ("metric", "kappa"), ("seed", 0)
            ]
        ]
    )  # fmt: skip
    assert choose_k(pd.concat([table, tempting])).k == 10


def test_ties_go_to_the_smaller_k_and_say_so() -> None:
    chosen = choose_k(arms({("influence", 20): 0.8, ("influence", 10): 0.8, ("baseline", 0): 0.7}))
    assert chosen.k == 10
    assert chosen.reason.endswith("of equals the smaller k is taken.")


def test_a_baseline_that_wins_is_chosen_as_zero() -> None:
    chosen = choose_k(arms({("baseline", 0): 0.9, ("influence", 10): 0.8}, low=0.85))
    assert chosen.k == 0
    assert "No removal improved it." in chosen.reason


def test_a_narrow_lead_is_called_uncertain() -> None:
    assert "uncertain" in choose_k(arms({("baseline", 0): 0.80, ("influence", 10): 0.81}, low=0.7)).reason


def test_suspects_are_chosen_like_any_removal_and_their_controls_never_are() -> None:
    table = arms(
        {("baseline", 0): 0.80, ("influence", 10): 0.81, ("suspects", 5): 0.84, ("suspects_random", 5): 0.99},
        low=0.83,
    )
    chosen = choose_k(table)
    assert (chosen.arm, chosen.k) == ("suspects", 5)
    assert chosen.reason.startswith("Training without the 5 % most suspect visits has the highest validation")
    assert choose_k(table[table["arm"] != "suspects"]).arm == "influence"


def test_of_equals_the_baseline_and_then_the_papers_removal_are_kept() -> None:
    tied = arms({("suspects", 5): 0.8, ("influence", 10): 0.8, ("baseline", 0): 0.8})
    assert choose_k(tied).arm == "baseline"
    assert choose_k(tied[tied["arm"] != "baseline"]).arm == "influence"


def test_without_any_validation_auc_there_is_no_choice() -> None:
    with pytest.raises(RunConflictError, match="no arm has a validation AUC"):
        choose_k(arms({("baseline", 0): None}))
