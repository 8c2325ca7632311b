"""The templates and the style that all pages of this room are made from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from grasp_ray.report import formats

_FOLDER = Path(__file__).parent


def template(name: str) -> jinja2.Template:
    """A template of this room, with the room's formats as filters; everything put into it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=formats.number,
        percent=formats.percent,
        count=formats.count,
        scientific=formats.scientific,
        p_value=formats.p_value,
        bounds=_bounds,
    )
    return environment.get_template(name)


def page_style(*further: str) -> str:
    """The pages' CSS, and that of `further` files of this room."""
    return "".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", *further))


def _bounds(row: Mapping[str, Any], low: str, high: str, digits: int = 2) -> str:
    """The interval between two columns of a row."""
    return formats.interval(row[low], row[high], digits)
