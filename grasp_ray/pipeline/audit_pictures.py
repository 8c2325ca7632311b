"""Pictures of the verdict page: views, SHAP, saliency overlays, and Grad-CAM of flagged images."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from grasp_ray.audits.gradcam import gradcam_overlays, overlay
from grasp_ray.audits.masking import VARIANTS, masked_photo
from grasp_ray.audits.saliency_pass import unpacked
from grasp_ray.audits.shap_values import shap_map
from grasp_ray.config import AuditConfig
from grasp_ray.mil.model import MILModel
from grasp_ray.on_ray.predict import ATTENTION, PREDICTIONS
from grasp_ray.pipeline.audited_run import audited_arm
from grasp_ray.pipeline.run_folder import RunFolder
from grasp_ray.report.audits_page import Shown
from grasp_ray.report.figures_audits import VIEW_NAMES
from grasp_ray.storage import Storage
from grasp_ray.training.trained_model import load_trained_model
from grasp_ray.trial.masks import load_masks
from grasp_ray.trial.photo_store import PhotoStore, read_photo_index

GRADCAM_IMAGES = 8
CLEAR_LESION_SHARE = 0.25


class AuditPictures:
    """Makes pictures of one run from its photo store, masks and audited model."""

    def __init__(self, config: AuditConfig, run: RunFolder):
        self.config, self.run = config, run
        self.manifest = run.manifest().set_index("image_id", drop=False)
        self.store = PhotoStore(run.storage)
        self.class_names = config.model.class_names
        self.label_of: dict[str, int] = dict(
            zip(self.manifest["image_id"], self.manifest["label"].astype(int), strict=True)
        )

    def model(self) -> MILModel:
        """The audited model."""
        return load_trained_model(self.run.storage.child(audited_arm(self.config))).model

    def photos(self, image_ids: Sequence[str]) -> NDArray[np.uint8]:
        """Photos in the order of the ids."""
        return self.store.read(self.manifest.loc[list(image_ids)])

    def surest_images(self, visit_ids: Sequence[str], most: int) -> list[tuple[str, int]]:
        """The most attended images of the surest visits, predicted classes by turns, with that class."""
        arm = audited_arm(self.config)
        predictions = self.run.table(f"{arm}/{PREDICTIONS}", made_by="train")
        predictions = predictions[predictions["visit_id"].isin(list(visit_ids))]
        columns = [name for name in predictions.columns if name.startswith("probability_")]
        surest = predictions.assign(top=predictions[columns].max(axis=1))
        surest = surest.sort_values(["top", "visit_id"], ascending=[False, True])
        turn = surest.groupby("predicted").cumcount()
        surest = surest.assign(turn=turn).sort_values("turn", kind="stable").head(most)
        attention = self.run.table(f"{arm}/{ATTENTION}", made_by="train")
        found = []
        for row in surest.to_dict("records"):
            of_visit = attention[attention["visit_id"] == row["visit_id"]]
            best = of_visit.sort_values(["attention", "image_id"], ascending=[False, True]).iloc[0]
            found.append((str(best["image_id"]), int(row["predicted"])))
        return found

    def clearest_views(self, image_ids: Sequence[str]) -> list[Shown]:
        """One image in every plain variant: the one whose lesion takes nearest to a quarter of the photo (the
        first of equals), where variants can be told apart. Empty when none has a usable mask."""
        rows = self.manifest.loc[list(image_ids)]
        side_px = self.config.trial.image_side_px
        trial = Storage.at(self.config.trial.uri)
        loaded = load_masks(trial, rows, read_photo_index(self.run.storage), side_px)
        if not loaded.image_ids:
            return []
        shares_M = loaded.masks_MSS.mean(axis=(1, 2))
        chosen = int(np.abs(shares_M - CLEAR_LESION_SHARE).argmin())
        image_id = loaded.image_ids[chosen]
        photo_SS3, mask_SS = self.photos([image_id])[0], loaded.masks_MSS[chosen]
        return [
            Shown(
                VIEW_NAMES[variant],
                f"{image_id}, {self._label(image_id)}",
                masked_photo(photo_SS3, mask_SS, variant, self.config.masking.fill),
            )
            for variant in VARIANTS
        ]

    def shap(self, images: Sequence[tuple[str, int]], evaluations: int) -> list[Shown]:
        """SHAP values laid over each image for its visit's predicted class."""
        model = self.model()
        found = []
        for image_id, predicted in images:
            photo_SS3 = self.photos([image_id])[0]
            values_SS = shap_map(model, photo_SS3, predicted, evaluations=evaluations)
            text = f"labelled {self._label(image_id)}, predicted {self.class_names[predicted]}"
            found.append(Shown(image_id, text, signed_overlay(photo_SS3, values_SS)))
        return found

    def saliency(self, agreement: pd.DataFrame, maps: pd.DataFrame) -> list[Shown]:
        """Overlays of the given rows of agreement.parquet."""
        map_of = {str(row["image_id"]): row for row in maps.to_dict("records")}
        found = []
        for row in agreement.to_dict("records"):
            image_id = str(row["image_id"])
            photo_SS3 = self.photos([image_id])[0]
            small_ss = unpacked({str(key): value for key, value in map_of[image_id].items()})
            size = (photo_SS3.shape[1], photo_SS3.shape[0])
            heat_SS = np.asarray(Image.fromarray(small_ss.astype(np.float32)).resize(size))
            text = (
                f"lift {row['lift']:.2f}; labelled {self.class_names[int(row['label'])]}, predicted "
                f"{self.class_names[int(row['predicted'])]}"
            )
            found.append(Shown(image_id, text, overlay(photo_SS3, np.clip(heat_SS, 0, 1))))
        return found

    def gradcam(self, image_ids: Sequence[str]) -> list[Shown]:
        """Grad-CAM of single images for their reader's label."""
        chosen = list(image_ids)[:GRADCAM_IMAGES]
        if not chosen:
            return []
        labels = [self.label_of[image_id] for image_id in chosen]
        overlays = gradcam_overlays(self.model(), self.photos(chosen), labels)
        return [
            Shown(image_id, f"labelled {self.class_names[label]}", picture)
            for image_id, label, picture in zip(chosen, labels, overlays, strict=True)
        ]

    def _label(self, image_id: str) -> str:
        return self.class_names[self.label_of[image_id]]


def signed_overlay(photo_SS3: NDArray[np.uint8], values_SS: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Values laid over the photo in grey: red above 0, blue below, stronger for larger ones."""
    grey_SS = photo_SS3.mean(axis=2)
    peak = np.abs(values_SS).max()
    strength_SS = np.abs(values_SS) / peak if peak > 0 else np.zeros_like(values_SS)
    colour_SS3 = np.where(values_SS[..., None] > 0, (200.0, 40.0, 40.0), (40.0, 90.0, 200.0))
    share_SS1 = (0.75 * strength_SS)[..., None]
    laid_SS3: NDArray[np.uint8] = np.round(
        (1 - share_SS1) * grey_SS[..., None] + share_SS1 * colour_SS3
    ).astype(np.uint8)
    return laid_SS3
