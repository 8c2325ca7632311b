"""Rules of the prune section."""

import pytest
from pydantic import ValidationError

from grasp_ray.pruning.settings import PruneSettings


def test_auto_takes_opponents_of_the_true_label_and_proponents_of_the_predicted_one() -> None:
    assert PruneSettings().harmful_rule("true") == "opponents"
    assert PruneSettings().harmful_rule("predicted") == "proponents"
    assert PruneSettings(harmful="absolute").harmful_rule("true") == "absolute"


@pytest.mark.parametrize(
    "wrong", [{"ks": (10, 10)}, {"ks": ()}, {"ks": (0,)}, {"controls": ("random", "random")}]
)
def test_repeated_empty_or_zero_arms_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PruneSettings.model_validate(wrong)
