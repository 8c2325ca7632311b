import pytest
from pydantic import ValidationError

from grasp_ray.tracking.settings import TrackSettings


def test_every_setting_is_described_and_retries_are_bounded() -> None:
    assert all(field.description for field in TrackSettings.model_fields.values())
    with pytest.raises(ValidationError):
        TrackSettings(request_retries=100)
