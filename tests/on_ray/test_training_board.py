import pytest

from grasp_ray.on_ray.training_board import ArmProgress, BoardReading, progress_line


def test_the_line_gives_share_rate_and_time_left_over_all_arms():
    arms = {
        "a": ArmProgress(started_at=0.0, done=1.0, photos_by_rank={0: 300, 1: 100}),
        "b": ArmProgress(started_at=0.5, done=0.75, photos_by_rank={0: 100}),
    }
    line = progress_line(BoardReading(arms, elapsed_s=50), arms=4, epochs_per_arm=12)
    # 1.75 of 4 arms are done, 1.25 of them in these 50 s, so the other 2.25 take 90 s
    assert line == "train: 21.0 of 48 epochs (44 %), 1 of 4 arms done, 10.0 photos/s, 1 min 30 s left"


@pytest.mark.parametrize("elapsed_s", [0.0, 3.0])
@pytest.mark.parametrize("arms", [{}, {"a": ArmProgress(0.2, 0.2, {0: 4})}, {"a": ArmProgress(0.2, 1.0, {})}])
def test_nothing_is_said_before_the_first_progress_and_after_the_last(arms, elapsed_s):
    assert progress_line(BoardReading(arms, elapsed_s), 1, 10) == ""
