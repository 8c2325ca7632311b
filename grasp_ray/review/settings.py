"""Settings of the review queue: what is put before a dermatologist, and how much of it."""

from typing import Literal

from pydantic import Field, PositiveInt

from grasp_ray.pruning.flaggers import DynamicsFlagger, InfluenceFlagger, LabelFlagger
from grasp_ray.settings import Settings

Reason = Literal["removal", "label", "self_influence", "disagreement", "novelty", "drift"]


class ReviewSettings(Settings):
    """The review queue. All of it is ours: the paper leaves re-scoring instead of removing to future work."""

    visits: PositiveInt = 20
    """Visits in the queue at most; a visit of 46 photos adds about 2 MB to the page."""

    reasons: tuple[Reason, ...] = Field(
        default=("removal", "label", "self_influence", "disagreement", "novelty", "drift"), min_length=1
    )
    """Why a training visit may enter: photos on the chosen k's removal list; a suspect label by `flagger`;
    high self-influence; readers who disagree on the class. After a re-audit, of what is new: listed photos; a
    model that reads another class; disagreement; photos unlike the training data; and, of any split, visits
    of a site or device whose photos have changed."""

    flagger: Literal["auto"] | LabelFlagger | DynamicsFlagger | InfluenceFlagger = "auto"
    """The visit-level flagger behind the reason `label`. `auto` is `confident_learning`, the best of
    docs/evidence.md, where the encoder began with trained weights; else `loss`."""

    per_reason: PositiveInt = 20
    """Photos (`removal`) or visits (the others) that each reason may propose, most suspect first."""

    gradcam: bool = True
    """Show beside each flagged photo where the baseline looks for reader 1's class. Turn off for an encoder
    whose stages Grad-CAM does not know."""

    photo_side_px: int = Field(default=512, ge=64, le=2048)
    """Longest side of the photos on the page; `report.thumbnails=false` leaves them out."""
