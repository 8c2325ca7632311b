"""How each photo is taken: framing, light, colour, focus, background. Parameters only, no drawing."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from grasp_ray.trial.simulate.body_views import VIEW_BY_NAME
from grasp_ray.trial.simulate.seeding import stream

BACKGROUNDS = ("bedsheet", "wall", "tile", "wood", "towel", "drape", "carpet")
_BACKGROUND_SHARES = (0.32, 0.20, 0.12, 0.08, 0.12, 0.08, 0.08)
_UPRIGHT_SHAPES = ("trunk", "back", "neck", "scalp", "brow")


def add_capture_parameters(images: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Add the framing and light of every photo; the rooms of a visit share light and background.

    Columns: coverage (share of the visible skin that is lesion), rotation_deg, zoom, shift_x, shift_y
    (half frame sides), light_angle_deg, light_height (0 grazing, 1 frontal), ambient (0–1), flash (0–1),
    exposure_ev, warmth (log red/blue gain), green_tint, defocus (blur sigma as a share of the side),
    noise_gain, background, jpeg_quality.
    """
    rng = stream(seed, "capture")
    visits = images["visit_id"].drop_duplicates().to_numpy()
    room = pd.DataFrame(
        {
            "visit_id": visits,
            "room_light_deg": rng.uniform(0, 360, len(visits)),
            "room_warmth": rng.normal(0.02, 0.05, len(visits)),
            "room_green": rng.normal(0.0, 0.02, len(visits)),
            "room_ev": rng.normal(0.0, 0.15, len(visits)),
            "room_ambient": rng.uniform(0.35, 0.65, len(visits)),
            "room_seed": rng.integers(0, 2**62, len(visits)),
            "background": rng.choice(BACKGROUNDS, p=_BACKGROUND_SHARES, size=len(visits)),
        }
    )
    frame = images.merge(room, on="visit_id", how="left", validate="many_to_one")
    count = len(frame)
    focus = np.exp(rng.normal(0.0, 0.25, count))
    frame["coverage"] = 1 - np.exp(-3.0 * frame["region_area_fraction"].to_numpy(dtype=float) * focus)
    frame["rotation_deg"] = _rotation(frame["body_view"], rng)
    frame["zoom"] = np.exp(rng.normal(0.03, 0.12, count))
    frame["shift_x"] = rng.normal(0.0, 0.09, count)
    frame["shift_y"] = rng.normal(0.0, 0.12, count)
    frame["light_angle_deg"] = frame["room_light_deg"] + rng.normal(0, 25, count)
    frame["light_height"] = rng.uniform(0.35, 0.9, count)
    frame["ambient"] = frame["room_ambient"]
    frame["flash"] = np.where(rng.random(count) < 0.25, rng.uniform(0.3, 0.9, count), 0.0)
    frame["exposure_ev"] = frame["room_ev"] + rng.normal(0.0, 0.12, count)
    frame["warmth"] = frame["room_warmth"] + rng.normal(0.0, 0.02, count)
    frame["green_tint"] = frame["room_green"] + rng.normal(0.0, 0.008, count)
    frame["defocus"] = rng.gamma(2.0, 0.0016, count)
    frame["noise_gain"] = rng.gamma(4.0, 0.25, count)
    frame["jpeg_quality"] = rng.integers(78, 94, count)
    return frame.drop(columns=["room_light_deg", "room_warmth", "room_green", "room_ev", "room_ambient"])


def _rotation(views: pd.Series, rng: np.random.Generator) -> Float[np.ndarray, " B"]:
    """Trunks and heads stand nearly upright; limbs lie at any angle, mostly along the frame."""
    upright = views.map(lambda name: VIEW_BY_NAME[name].shape in _UPRIGHT_SHAPES).to_numpy()
    wobble = rng.normal(0.0, 1.0, len(views))
    lying = np.where(rng.random(len(views)) < 0.3, 90.0, 0.0)
    return np.where(upright, 4.0 * wobble, lying + 14.0 * wobble)
