import pytest
from pydantic import ValidationError

from grasp_ray.trial.simulate.settings import ArtefactSettings, SimulateSettings


def test_the_paper_size_has_the_papers_counts() -> None:
    counts = SimulateSettings(size="paper").counts
    assert counts.patients == (247, 28, 69)
    assert counts.visits == (610, 64, 170)
    assert sum(counts.visits) * counts.views_per_visit == 38_824
    assert counts.doubly_read_training_visits == 172


def test_an_override_replaces_only_its_own_count() -> None:
    counts = SimulateSettings(size="tiny", views_per_visit=5).counts
    assert counts.views_per_visit == 5
    assert counts.photo_side_px == SimulateSettings(size="tiny").counts.photo_side_px


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (1.0, 0.0, 0.0)])
def test_class_shares_that_are_no_distribution_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ValidationError, match="class_shares"):
        SimulateSettings(class_shares=shares)


def test_artefact_shares_that_exceed_all_visits_are_refused() -> None:
    with pytest.raises(ValidationError, match="share_elsewhere"):
        ArtefactSettings(lamp_share=0.9, share_elsewhere=0.1)
