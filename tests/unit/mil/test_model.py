"""The MIL model: absent images influence nothing, order does not matter, weights come from the seed."""

import pytest
import torch
from torch import Tensor

from grasp_ray.mil.model import MILModel, build_model
from grasp_ray.mil.settings import ModelSettings

SIDE_PX = 32


def model(seed: int = 0, **values: object) -> MILModel:
    settings = {"encoder": "test_convnext", "weights": "none", "embedding_dim": 16, "attention_dim": 8,
                "head_hidden_dim": 8, **values}  # fmt: skip
    built = build_model(ModelSettings.model_validate(settings), image_side_px=SIDE_PX, seed=seed)
    return built.eval()


def photos(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, SIDE_PX, SIDE_PX, 3), dtype=torch.uint8, generator=generator)


def presence(*rows: str) -> Tensor:
    """'x.x' is a visit whose second slot is empty."""
    return torch.tensor([[slot == "x" for slot in row] for row in rows])


VARIANTS = [
    {"encoder": encoder, "attention": attention}
    for encoder in ("test_convnext", "test_vit", "mobilenetv2_035")
    for attention in ("mlp", "gated")
]


@pytest.mark.parametrize("values", VARIANTS, ids=lambda values: "-".join(values.values()))
def test_a_visit_is_classified_as_by_a_loop_over_its_images(values: dict[str, str]) -> None:
    built = model(**values).double()
    images = built.normalise(photos(5))
    with torch.no_grad():
        output = built(images, presence("xx.", "xxx"))
        for visit, members in enumerate([[0, 1], [2, 3, 4]]):
            h = [built.projection(built.encoder(images[[index]]))[0] for index in members]
            energy = [float(built.attention(each[None])) for each in h]
            total = sum(torch.tensor(energy).exp())
            share = [float(torch.tensor(e).exp() / total) for e in energy]
            z = sum(a * each for a, each in zip(share, h, strict=True))
            assert torch.allclose(output.logits_VK[visit], built.head(z), atol=1e-6)
            assert output.attention_VN[visit, : len(members)].tolist() == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("absent_images", ["pre_softmax", "post_softmax"])
def test_what_lies_in_an_empty_slot_leaves_the_logits_bit_identical(absent_images: str) -> None:
    """Only present images are encoded; the slot's content is not even an argument of the model."""
    built = model(absent_images=absent_images)
    all_photos = photos(4)
    kept = torch.tensor([True, False, True, True])
    changed = all_photos.clone()
    changed[1] = 255 - changed[1]
    with torch.no_grad():
        first = built(built.normalise(all_photos[kept]), presence("x.xx"))
        second = built(built.normalise(changed[kept]), presence("x.xx"))
    assert torch.equal(first.logits_VK, second.logits_VK)
    assert first.attention_VN[0, 1] == 0


@pytest.mark.parametrize("attention", ["mlp", "gated"])
def test_padding_with_empty_slots_changes_nothing(attention: str) -> None:
    built = model(attention=attention).double()
    images = built.normalise(photos(3))
    with torch.no_grad():
        tight = built(images, presence("xxx"))
        padded = built(images, presence(".x.xx..."))
    assert torch.allclose(tight.logits_VK, padded.logits_VK, atol=1e-14)
    assert torch.allclose(tight.attention_VN[0], padded.attention_VN[0, [1, 3, 4]], atol=1e-14)


def test_post_softmax_counts_an_empty_slot_as_a_zero_embedding() -> None:
    built = model(absent_images="post_softmax").double()
    images = built.normalise(photos(2))
    with torch.no_grad():
        attention_VN = built(images, presence("xx.")).attention_VN
        embedded = torch.cat([built.embed(images), torch.zeros(1, 16, dtype=torch.float64)])
        expected = torch.softmax(built.attention(embedded), dim=0)
    assert torch.allclose(attention_VN[0, :2], expected[:2])
    assert attention_VN[0, 2] == 0
    assert float(attention_VN.sum()) < 1


@pytest.mark.parametrize("attention", ["mlp", "gated"])
def test_the_order_of_images_moves_attention_and_keeps_logits(attention: str) -> None:
    built = model(attention=attention).double()
    images = built.normalise(photos(6))
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    with torch.no_grad():
        straight = built(images, presence("xxxxxx"))
        permuted = built(images[order], presence("xxxxxx"))
    assert torch.allclose(straight.logits_VK, permuted.logits_VK, atol=1e-12)
    assert torch.allclose(straight.attention_VN[:, order], permuted.attention_VN, atol=1e-12)


def test_the_company_of_other_visits_changes_nothing() -> None:
    built = model().double()
    images = built.normalise(photos(5))
    with torch.no_grad():
        together = built(images, presence("xx.", "xxx")).logits_VK
        alone = built(images[2:], presence("xxx")).logits_VK
    assert torch.allclose(together[1], alone[0], atol=1e-12)


def test_a_bag_of_one_is_its_singleton() -> None:
    built = model().double()
    images = built.normalise(photos(3))
    with torch.no_grad():
        output = built(images, presence("x", "x", "x"))
        assert torch.allclose(output.logits_VK, built.singleton_logits(images), atol=1e-12)
    assert (output.attention_VN == 1).all()


def test_attention_gets_exactly_no_gradient_from_a_singleton() -> None:
    built = model()
    output = built(built.normalise(photos(2)), presence("x", "x"))
    torch.nn.functional.cross_entropy(output.logits_VK, torch.tensor([0, 2])).backward()
    for name, parameter in built.attention.named_parameters():
        assert parameter.grad is not None
        assert (parameter.grad == 0).all(), name
    assert any((parameter.grad != 0).any() for parameter in built.projection.parameters())


def test_a_visit_without_images_never_reaches_the_softmax() -> None:
    built = model()
    with pytest.raises(AssertionError, match="a visit without images"):
        built(built.normalise(photos(2)), presence("xx", ".."))


def test_a_photo_too_few_for_the_presence_is_refused() -> None:
    built = model()
    with pytest.raises(AssertionError, match="one image per present slot"):
        built(built.normalise(photos(2)), presence("xxx"))


def test_pixels_are_scaled_then_centred_per_channel() -> None:
    built = model(pixel_mean=(0.5, 0.25, 0.0), pixel_std=(0.5, 0.25, 1.0))
    white = torch.full((1, SIDE_PX, SIDE_PX, 3), 255, dtype=torch.uint8)
    normalised = built.normalise(white)
    assert normalised.shape == (1, 3, SIDE_PX, SIDE_PX)
    assert normalised[0, :, 0, 0].tolist() == pytest.approx([1.0, 3.0, 1.0])


def test_initial_weights_depend_on_the_seed_and_on_nothing_before() -> None:
    first = model(seed=3).state_dict()
    torch.manual_seed(99)
    torch.rand(17)
    again = model(seed=3).state_dict()
    other = model(seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_building_a_model_leaves_the_random_stream_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    model(seed=7)
    assert torch.equal(torch.rand(3), expected)


def test_classes_follow_their_names() -> None:
    built = model(class_names=("benign", "malignant"))
    with torch.no_grad():
        assert built(built.normalise(photos(1)), presence("x")).logits_VK.shape == (1, 2)
