"""Embeddings by models with random weights of the true classes, made here."""

import numpy as np
import pytest
import torch

from maibench.datasets.demo import demo_manifest
from maibench.errors import MaibenchError
from maibench.evaluation.audit.embedding import embed, load_embedder, similar_across


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = SiglipConfig(
        text_config={**small, "vocab_size": 9, "bos_token_id": 1, "eos_token_id": 2},
        vision_config={**small, "image_size": 32, "patch_size": 8},
    )
    folder = tmp_path_factory.mktemp("siglip")
    SiglipModel(config).save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_siglip_embeds_images_as_it_does_itself(siglip):
    from PIL import Image
    from transformers import AutoModel, SiglipImageProcessorPil

    from maibench.datasets.image import decode

    manifest = demo_manifest()
    paths = manifest.rows["path"].tolist()[:34]  # more than a batch
    found = embed(manifest, paths, f"siglip:{siglip}", "cpu")
    assert found.shape == (34, 32) and np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.array_equal(found, embed(manifest, paths, str(siglip), "cpu"))
    images = [Image.fromarray(decode(manifest.read(path).data)) for path in paths[32:]]
    model, processor = AutoModel.from_pretrained(siglip), SiglipImageProcessorPil.from_pretrained(siglip)
    with torch.no_grad():
        own = model.vision_model(**processor(images=images, return_tensors="pt")).pooler_output
    assert np.allclose(found[32:], torch.nn.functional.normalize(own).numpy(), atol=1e-4)


def test_a_backbone_of_timm_embeds_images_and_random_weights_are_never_taken(tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed (the extra `timm`)")
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", pretrained=False)
    timm.models.save_for_hf(network, tmp_path, safe_serialization=True)
    manifest = demo_manifest()
    paths = manifest.rows["path"].tolist()[:2]
    found = embed(manifest, paths, str(tmp_path), "cpu")
    assert found.shape == (2, 512) and np.array_equal(found, embed(manifest, paths, str(tmp_path), "cpu"))
    for name in ("resnet1000", "botnet50ts_256"):  # unknown; known, but never trained
        with pytest.raises(MaibenchError, match=f"{name} cannot be loaded with its weights"):
            load_embedder(f"timm:{name}", "cpu")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("nowhere", "give timm:ARCH, siglip:FOLDER_OR_NAME, or a folder"),
        ("siglip:./nowhere", "no such folder"),
    ],
)
def test_a_model_that_is_not_there_is_named(spec, says):
    with pytest.raises(MaibenchError, match=says):
        load_embedder(spec, "cpu")


def test_a_folder_without_a_model_or_with_weights_that_do_not_fit_is_refused(siglip, tmp_path):
    with pytest.raises(MaibenchError, match="holds no model"):
        load_embedder(str(tmp_path), "cpu")
    for file in siglip.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    with pytest.raises(MaibenchError, match="do not fit the configuration"):
        load_embedder(str(tmp_path), "cpu")


def test_blocks_find_what_all_cosines_at_once_would(monkeypatch):
    monkeypatch.setattr("maibench.evaluation.audit.embedding._ROWS", 7)
    monkeypatch.setattr("maibench.evaluation.audit.embedding._COLUMNS", 5)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    splits = rng.choice(["train", "validation", "test"], 60)
    cosines = np.where(splits[:, None] != splits, vectors @ vectors.T, -2)
    found = similar_across(vectors, splits, 0.9)
    assert found.n_images == (cosines > 0.9).any(axis=1).sum() and np.isclose(found.highest, cosines.max())
    one, other = found.pairs.ends[0]
    assert np.isclose(cosines[one, other], cosines.max())
    assert similar_across(vectors, np.full(60, "test"), 0.9).n_images == 0
