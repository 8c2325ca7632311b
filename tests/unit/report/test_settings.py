import pytest
from pydantic import ValidationError

from grasp_ray.report.settings import ReportSettings


def test_every_setting_is_described_and_a_typo_is_refused() -> None:
    assert all(field.description for field in ReportSettings.model_fields.values())
    with pytest.raises(ValidationError, match="gallery_image\n"):
        ReportSettings.model_validate({"gallery_image": 3})
