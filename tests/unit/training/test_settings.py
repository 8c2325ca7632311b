import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from grasp_ray.training.settings import TrainSettings


def test_defaults_are_the_papers_recipe():
    settings = TrainSettings()
    assert (settings.epochs, settings.batch_size_visits, settings.num_workers) == (100, 4, 4)
    assert (settings.learning_rate, settings.weight_decay) == (1e-6, 1e-4)
    assert settings.sampling == "inverse_class_frequency"
    assert settings.replay_epochs == (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)


@given(epochs=st.integers(1, 200), data=st.data())
def test_replay_epochs_are_distinct_even_and_end_with_the_last_epoch(epochs, data):
    count = data.draw(st.integers(1, epochs))
    replay_epochs = TrainSettings(epochs=epochs, replay_checkpoints=count).replay_epochs
    gaps = [after - before for before, after in zip((0, *replay_epochs), replay_epochs, strict=False)]
    assert len(replay_epochs) == count
    assert replay_epochs[-1] == epochs
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"epochs": 3}, "replay_checkpoints"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"batch_size": 4}, "batch_size"),
        ({"precision": "fp16"}, "precision"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(wrong, names):
    with pytest.raises(ValidationError, match=names):
        TrainSettings(**wrong)
