"""Which autoencoders `--vae` names, and that no other weights than those asked for are ever used."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from maibench.datasets import vaes
from maibench.datasets.autoencoders import ARCHITECTURES
from maibench.datasets.taef2 import Taef2
from maibench.datasets.vaes import choose, fingerprint
from maibench.errors import MaibenchError


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


class TestNames:
    def test_keep_their_order(self):
        choices = choose("nano-flux.2, sd1.5,mine=nano-sdxl,theirs=flux.2")
        assert [choice.name for choice in choices] == ["nano-flux.2", "vae-sd1.5", "mine", "theirs"]
        assert choices[0].origin == "bundled"
        assert choices[1].origin.startswith("stable-diffusion-v1-5/stable-diffusion-v1-5@")
        assert choices[1].licence == "CreativeML Open RAIL-M"

    def test_of_a_path_is_its_last_part(self, tiny_vae, tmp_path):
        folder, file = tiny_vae(tmp_path / "sd-vae.2"), tmp_path / "taef2.safetensors"
        save_file(Taef2().state_dict(), file)
        assert [choice.name for choice in choose(f"{folder}/,{file},a={folder}")] == ["sd-vae.2", "taef2", "a"]

    def test_an_unknown_one_is_answered_with_the_nearest(self):
        with pytest.raises(
            MaibenchError, match=r"'nano-sdlx': did you mean 'nano-sdxl'\? there are nano-sd1\.5, .*sdxl"
        ):
            choose("nano-sdlx")

    @pytest.mark.parametrize("spec", ["no/such/folder", "gone.safetensors"])
    def test_a_path_that_is_not_there(self, spec):
        with pytest.raises(MaibenchError, match=f"no autoencoder at '{spec}'"):
            choose(spec)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "names no autoencoder"),
            (",", "names no autoencoder"),
            ("sdxl,sdxl", "two autoencoders are called 'vae-sdxl'"),
            ("real=sdxl", "'real' cannot name a generator"),
            ("a/b=sdxl", "'a/b' cannot name a generator"),
        ],
    )
    def test_that_make_no_sense(self, text, words):
        with pytest.raises(MaibenchError, match=words):
            choose(text)


class TestFolder:
    def test_is_loaded_with_diffusers_in_float32(self, tiny_vae, tmp_path):
        from diffusers import AutoencoderKL

        folder = tiny_vae(tmp_path / "vae")
        AutoencoderKL.from_pretrained(folder).half().save_pretrained(folder)
        model = choose(str(folder))[0].load()
        assert isinstance(model, AutoencoderKL)
        assert model.dtype == torch.float32
        assert not model.training
        assert same(model, AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32))

    def test_may_hold_it_in_vae(self, tiny_vae, tmp_path):
        tiny_vae(tmp_path / "pipeline" / "vae")
        [choice] = choose(str(tmp_path / "pipeline"))
        assert choice.name == "pipeline"
        assert same(choice.load(), choose(str(tmp_path / "pipeline" / "vae"))[0].load())

    def test_the_class_is_the_configurations(self, tmp_path):
        from diffusers import AutoencoderKLFlux2

        AutoencoderKLFlux2(
            down_block_types=("DownEncoderBlock2D",), up_block_types=("UpDecoderBlock2D",), block_out_channels=(8,),
            norm_num_groups=4, layers_per_block=1,
        ).save_pretrained(tmp_path / "vae")  # fmt: skip
        assert isinstance(choose(str(tmp_path / "vae"))[0].load(), AutoencoderKLFlux2)

    def test_the_names_that_attention_had_in_older_files_are_known(self, tiny_vae, tmp_path):
        # the published SD 1.5 has them
        folder = tiny_vae(tmp_path / "vae")
        expected = choose(str(folder))[0].load()
        file = folder / vaes.FILE
        old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        tensors = {}
        for key, tensor in load_file(file).items():
            for now, before in old.items():
                key = key.replace(f"attentions.0.{now}.", f"attentions.0.{before}.")
            tensors[key] = tensor
        assert any("proj_attn" in key for key in tensors)
        save_file(tensors, file, metadata={"format": "pt"})
        assert same(choose(str(folder))[0].load(), expected)

    @pytest.mark.parametrize("change", ["missing", "extra", "shape", "garbage"])
    def test_weights_that_do_not_fit_are_an_error(self, tiny_vae, tmp_path, change):
        folder = tiny_vae(tmp_path / "vae")
        tensors = load_file(folder / vaes.FILE)
        key = "decoder.conv_out.weight"
        if change == "missing":
            del tensors[key]
        elif change == "extra":
            tensors["more"] = torch.zeros(1)
        elif change == "shape":
            tensors[key] = torch.zeros(3)
        save_file(tensors, folder / vaes.FILE, metadata={"format": "pt"})
        if change == "garbage":
            (folder / vaes.FILE).write_bytes(b"garbage")
        with pytest.raises(MaibenchError, match=r"do not fit its configuration|cannot be loaded as AutoencoderKL"):
            choose(str(folder))[0].load()

    def test_pickles_are_not_read(self, tiny_vae, tmp_path):
        folder = tiny_vae(tmp_path / "vae")
        torch.save(load_file(folder / vaes.FILE), folder / "diffusion_pytorch_model.bin")
        (folder / vaes.FILE).unlink()
        with pytest.raises(MaibenchError, match=f"{vaes.FILE} is missing; weights in other formats are not read"):
            choose(str(folder))[0].load()

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ('{"_class_name": "AutoencoderTiny"}', "'AutoencoderTiny' is not read here, only AutoencoderKL and"),
            ("{}", "does not say its _class_name"),
            ("no json", "does not say its _class_name"),
        ],
    )
    def test_other_configurations(self, tiny_vae, tmp_path, text, words):
        folder = tiny_vae(tmp_path / "vae")
        (folder / "config.json").write_text(text)
        with pytest.raises(MaibenchError, match=words):
            choose(str(folder))[0].load()

    def test_without_a_configuration(self, tmp_path):
        with pytest.raises(MaibenchError, match="no autoencoder in diffusers' layout"):
            choose(str(tmp_path))[0].load()

    def test_of_other_channels(self, tiny_vae, tmp_path):
        with pytest.raises(MaibenchError, match="does not turn RGB images into RGB images"):
            choose(str(tiny_vae(tmp_path / "vae", in_channels=1)))[0].load()

    @pytest.mark.parametrize(("size", "tile"), [(32, 256), (512, 512)])
    def test_tiles_have_a_sensible_size(self, tiny_vae, tmp_path, size, tile):
        model = choose(str(tiny_vae(tmp_path / "vae", sample_size=size)))[0].load()
        assert (model.tile_sample_min_size, model.tile_latent_min_size) == (tile, tile // 2)


class TestFile:
    def test_is_taef2s(self, tmp_path):
        torch.manual_seed(0)
        model, file = Taef2(), tmp_path / "taef2.safetensors"
        save_file(model.state_dict(), file)
        assert same(choose(str(file))[0].load(), model)

    def test_another_is_refused(self, tmp_path):
        file = tmp_path / "other.safetensors"
        save_file({"a": torch.zeros(1)}, file)
        with pytest.raises(MaibenchError, match="not the weights of TAEF2"):
            choose(str(file))[0].load()


class TestPublished:
    def test_the_list_says_all_that_is_needed(self):
        import diffusers

        listed = yaml.safe_load(vaes.PUBLISHED.read_text())
        assert list(listed) == ["sd1.5", "sdxl", "flux.1", "flux.2"]
        for facts in listed.values():
            assert facts["class"] in vaes.CLASSES
            assert hasattr(diffusers, facts["class"])
            assert facts["licence"]
            assert len(facts["revision"]) == 40
        names = [facts["generator"] for facts in listed.values()]
        assert len({*names, *ARCHITECTURES}) == 8

    @pytest.fixture
    def mirror(self, tmp_path, monkeypatch):
        """A list in which sdxl's repository is a folder."""
        listed = yaml.safe_load(vaes.PUBLISHED.read_text())
        listed["sdxl"]["repository"] = str(tmp_path / "sdxl-base")
        file = tmp_path / "autoencoders.yaml"
        file.write_text(yaml.safe_dump(listed))
        monkeypatch.setattr(vaes, "PUBLISHED", file)
        return tmp_path / "sdxl-base"

    def test_is_loaded_from_its_subfolder(self, tiny_vae, mirror):
        folder = tiny_vae(mirror / "vae")
        assert same(choose("sdxl")[0].load(), choose(str(folder))[0].load())

    def test_weights_that_do_not_fit_are_an_error(self, tiny_vae, mirror):
        folder = tiny_vae(mirror / "vae")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "use_quant_conv": False}))
        with pytest.raises(MaibenchError, match="do not fit its configuration"):
            choose("sdxl")[0].load()

    def test_offline_it_says_what_to_do(self, tmp_path, monkeypatch):
        import huggingface_hub.constants

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr("diffusers.models.modeling_utils.HF_HUB_OFFLINE", True, raising=False)
        words = (
            r"(?s)'flux\.1' cannot be had from black-forest-labs/FLUX\.1-schnell \(.*offline.*go online and.*"
            r"https://huggingface\.co/black-forest-labs/FLUX\.1-schnell.*hf auth login.*--vae vae-flux\.1=FOLDER"
        )
        with pytest.raises(MaibenchError, match=words):
            choose("flux.1")[0].load()


class TestFingerprint:
    def test_is_of_weights_and_configuration(self, tiny_vae, tmp_path):
        folders = [tiny_vae(tmp_path / "a"), tiny_vae(tmp_path / "b"), tiny_vae(tmp_path / "c", seed=1)]
        config = json.loads((folders[0] / "config.json").read_text())
        other = tiny_vae(tmp_path / "d")
        (other / "config.json").write_text(json.dumps({**config, "norm_num_groups": 2}))
        prints = [fingerprint(choose(str(folder))[0].load()) for folder in [*folders, other]]
        assert prints[0] == prints[1]
        assert len(set(prints)) == 3

    def test_of_taef2(self):
        torch.manual_seed(0)
        one, other = Taef2(), Taef2()
        assert fingerprint(one) == fingerprint(one)
        assert fingerprint(one) != fingerprint(other)
