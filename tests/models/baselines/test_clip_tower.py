"""Detectors on CLIP's frozen tower: they see what the papers' code saw, and store only what they learnt."""

import copy
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from maibench.errors import DetectorError, MaibenchError
from maibench.models.baselines.clip_tower import CLIP_MEAN, CLIP_STD, EMBEDDING, ClipTower
from maibench.models.baselines.rine import Rine, RineHead, contrastive
from maibench.models.baselines.univfd import UnivFD
from maibench.models.loading import fingerprint, load_detector

BLOCKS, WIDTH = 3, 24


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A folder with a whole CLIP of random weights, small: images of 28 x 28."""
    folder = tmp_path_factory.mktemp("clip")
    sizes = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": BLOCKS, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = CLIPConfig(
        vision_config={**sizes, "image_size": 28, "patch_size": 14, "projection_dim": 16},
        text_config={**sizes, "vocab_size": 50, "projection_dim": 16},
        projection_dim=16,
    )
    CLIPModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def images(texture):
    return [texture((40 + seed, 31), seed) for seed in range(3)]


@pytest.fixture(params=["univfd", "rine"])
def make(request, clip):
    """make(**options) -> the detector on the small CLIP."""
    own = {"projections": 1, "width": 8} if request.param == "rine" else {}
    cls = {"univfd": UnivFD, "rine": Rine}[request.param]
    return lambda **options: cls(**{"backbone": clip, **own, **options}).eval()


def test_parameters_as_published():
    large = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    with torch.device("meta"):
        config = CLIPVisionConfig(**large, patch_size=14, image_size=224, projection_dim=EMBEDDING)
        tower = ClipTower(CLIPVisionModelWithProjection(config))
        heads = [UnivFD(), Rine(), Rine(projections=4, width=128)]
    assert tower.parameter_count() == 303_966_208  # CLIP's own `visual` of ViT-L/14
    trained = [sum(p.numel() for p in head.parameters()) for head in heads]
    assert trained == [769, 6_323_201, 283_009]  # RINE: 6.3 M in the paper
    assert [type(h).card.parameters for h in heads[:2]] == [tower.parameter_count() + count for count in trained[:2]]


def test_reads_as_torchvision_does(make, images, texture):
    transforms = pytest.importorskip("torchvision.transforms")
    detector = make()
    published = transforms.Compose(
        [transforms.CenterCrop(28), transforms.ToTensor(), transforms.Normalize(CLIP_MEAN, CLIP_STD)]
    )
    for image in [*images, texture((9, 50), 3)]:
        expected = published(Image.fromarray(image))
        torch.testing.assert_close(detector.preprocess(image), expected, atol=1e-6, rtol=0)
        pixels = torch.from_numpy(image).permute(2, 0, 1).float()
        torch.testing.assert_close(detector.differentiable(pixels), expected, atol=1e-6, rtol=0)


def test_embedding_is_clips_own(clip, images):
    detector = UnivFD(backbone=clip)
    batch = torch.stack([detector.preprocess(image) for image in images])
    whole = CLIPModel.from_pretrained(clip).eval()
    with torch.no_grad():
        features = whole.visual_projection(whole.vision_model(batch).pooler_output)
        expected = features @ detector.fc.weight[0] + detector.fc.bias
        torch.testing.assert_close(detector(batch), expected)


def test_class_tokens_are_what_the_official_hooks_caught(clip, images):
    detector = Rine(backbone=clip)
    batch, caught = torch.stack([detector.preprocess(image) for image in images]), []
    network = detector.tower.network
    for block in network.vision_model.encoder.layers:
        block.layer_norm2.register_forward_hook(lambda module, given, output: caught.append(output[:, 0]))
    with torch.no_grad():
        network(pixel_values=batch)
        expected = torch.stack(caught, dim=1)
        tokens = detector.tower.class_tokens(batch)
    assert tokens.shape == (3, BLOCKS, WIDTH)
    torch.testing.assert_close(tokens, expected)


def test_batch_is_single_and_nothing_else_changes(make, images):
    detector = make()
    batch = torch.stack([detector.preprocess(image) for image in images])
    with torch.inference_mode():
        logits = detector(batch)
        single = torch.cat([detector(one[None]) for one in batch])
    assert logits.shape == (3,)
    torch.testing.assert_close(logits, single, atol=1e-5, rtol=1e-4)
    for again in (copy.deepcopy(detector), pickle.loads(pickle.dumps(detector))):
        torch.testing.assert_close(again(batch), logits)


def test_tower_moves_but_is_neither_trained_nor_stored(make, images, tmp_path):
    detector = make()
    before = detector.tower.network.state_dict()["visual_projection.weight"].clone()
    batch = torch.stack([detector.preprocess(image) for image in images])
    detector.train()
    detector.loss(batch, torch.tensor([0, 1, 1])).backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())
    assert not any(p.requires_grad or p.grad is not None for p in detector.tower.network.parameters())
    assert not detector.tower.network.training
    torch.testing.assert_close(detector.tower.network.state_dict()["visual_projection.weight"], before)
    assert not [name for name in detector.state_dict() if "tower" in name]
    detector.to(torch.float64)
    assert {p.dtype for p in detector.tower.network.parameters()} == {torch.float64}


def test_gradients_reach_the_pixels(make, images):
    pixels = torch.from_numpy(images[0]).permute(2, 0, 1).float().requires_grad_()
    detector = make()
    detector(detector.differentiable(pixels)[None]).sum().backward()
    assert pixels.grad.abs().sum() > 0


def test_a_finetuned_folder_names_its_backbone(clip, images, tmp_path):
    options = {"backbone": str(clip), "projections": 1, "width": 8}
    torch.manual_seed(1)
    fresh = Rine(**options)
    torch.save(fresh.head.state_dict(), tmp_path / "official.pth")
    detector = load_detector("rine", weights=tmp_path / "official.pth", **options)
    detector.save_pretrained(tmp_path / "mine")
    assert sum(file.stat().st_size for file in (tmp_path / "mine").iterdir()) < 20_000
    again = load_detector(str(tmp_path / "mine"))
    batch = torch.stack([detector.preprocess(image) for image in images])
    torch.testing.assert_close(again(batch), fresh.eval()(batch))
    trained = sum(parameter.numel() for parameter in fresh.head.parameters())
    assert again.card.parameters == detector.card.parameters == trained + detector.tower.parameter_count()
    assert fingerprint(again) == fingerprint(detector)


def test_official_file_of_univfd_is_strict(clip, tmp_path):
    torch.save({"weight": torch.ones(1, 16), "bias": torch.zeros(1)}, tmp_path / "fc_weights.pth")
    detector = load_detector("univfd", weights=tmp_path / "fc_weights.pth", backbone=clip)
    assert (detector.fc.weight == 1).all()
    with pytest.raises(MaibenchError, match=r"'fc.weight' is \[1, 16\], not \[1, 768\]"):
        load_detector("univfd", weights=tmp_path / "fc_weights.pth")
    torch.save({"weight": torch.ones(1, 16)}, tmp_path / "half.pth")
    with pytest.raises(MaibenchError, match=r"'fc\.bias' is missing"):
        load_detector("univfd", weights=tmp_path / "half.pth", backbone=clip)


def test_refusals(make, clip, tmp_path):
    bare = make(backbone=None)
    for call in (bare.check_ready, lambda: bare(torch.zeros(1, 3, 28, 28))):
        with pytest.raises(MaibenchError, match="stands on CLIP's image tower, which is not bundled: --set"):
            call()
    with pytest.raises(MaibenchError, match="no such folder"):
        make(backbone=tmp_path / "nowhere")
    (tmp_path / "config.json").write_text((clip / "config.json").read_text())
    with pytest.raises(DetectorError, match=r"has no model\.safetensors"):
        make(backbone=tmp_path)
    (tmp_path / "model.safetensors").write_bytes((clip / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(DetectorError, match="cannot be loaded by CLIPVisionModelWithProjection"):
        make(backbone=tmp_path)


def test_a_tower_without_all_its_tensors_is_refused(clip, tmp_path):
    network = CLIPVisionModelWithProjection.from_pretrained(clip)
    tensors = {name: value for name, value in network.state_dict().items() if "layers.1.mlp" not in name}
    network.save_pretrained(tmp_path, state_dict=tensors)
    with pytest.raises(DetectorError, match=r"4 tensors are missing or of another shape \(.*layers\.1\.mlp"):
        UnivFD(backbone=tmp_path)


@pytest.mark.parametrize("options", [{"projections": 0}, {"width": 1.5}, {"width": True}])
def test_wrong_options(options):
    with pytest.raises(MaibenchError, match="is a whole number of at least 1"):
        Rine(**options)


def test_importance_sums_to_one_over_blocks():
    torch.manual_seed(0)
    head = RineHead(4, 6, 1, 5).eval()
    token = torch.randn(2, 1, 6)
    # of equal tokens the weighted sum is the token, whatever the importances
    torch.testing.assert_close(head(token.expand(2, 4, 6))[1], head.proj2(head.proj1(token)[:, 0]))


def test_contrastive_loss_equals_its_definition():
    features, labels = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1, 0, 1, 2])
    unit = (features / features.norm(dim=1, keepdim=True)).numpy().astype(np.float64)
    total = 0.0
    for i in range(6):
        others = sum(np.exp(unit[i] @ unit[k] / 0.07) for k in range(6) if k != i)
        alike = [j for j in range(6) if j != i and labels[j] == labels[i]]
        if alike:
            total -= sum(np.log(np.exp(unit[i] @ unit[j] / 0.07) / others) for j in alike) / len(alike)
    assert contrastive(features, labels).item() == pytest.approx(total / 6, rel=1e-4)
