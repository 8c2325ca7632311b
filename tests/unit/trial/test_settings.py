import pytest
from pydantic import ValidationError

from grasp_ray.trial.settings import TrialSettings


@pytest.mark.parametrize("fractions", [(0.7, 0.1, 0.1), (1.1, -0.1, 0.0), (0.7, 0.3)])
def test_split_fractions_are_three_shares_of_one(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="split_fractions"):
        TrialSettings(uri="trial", split_fractions=fractions)


def test_a_trial_needs_a_place() -> None:
    with pytest.raises(ValidationError, match="uri"):
        TrialSettings(uri="")


def test_the_pixel_limit_stays_below_the_decoders_own() -> None:
    """Pillow refuses pictures above 179 megapixels, so a larger limit could not be honoured."""
    with pytest.raises(ValidationError, match="max_image_megapixels"):
        TrialSettings(uri="trial", max_image_megapixels=200)
