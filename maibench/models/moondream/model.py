"""The moondream 2 network: transformers' SigLIP encoder and Phi decoder, and what joins them.

Source: https://github.com/vikhyat/moondream (moondream/torch; read, not copied). The library's classes bring attention
backends, caches, generation, gradient checkpointing and PEFT.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, PhiConfig, PhiForCausalLM, SiglipVisionConfig, SiglipVisionModel

from maibench.models.device import to_device
from maibench.models.moondream.config import MoondreamConfig
from maibench.models.moondream.crops import Tiling, overlap_crops, overlap_crops_tensor, stitch

CROPS_AT_ONCE = {"cpu": 8, "cuda": 128}
"""Crops that go through the encoder together; bounds the memory of batches of tiled images."""

IMAGES_AT_ONCE = {"cpu": 4, "cuda": 32}
"""Images that go through the decoder together."""


class Images(TypedDict):
    """A batch of n images. crops: uint8 (total, size, size, 3); an image of tiling (1, 1) has one crop, any other
    1 + rows x columns, the global one first. tilings: one an image."""

    crops: Tensor
    tilings: list[Tiling]


class MoondreamModel(nn.Module):
    """Image crops and token ids in, next-token logits out; `settings` holds the shapes.

    Tokens are BOS + image tokens (the prefix, which sees itself both ways) + prompt.
    """

    def __init__(self, settings: MoondreamConfig) -> None:
        super().__init__()
        self.settings = settings
        vision, text = settings.vision, settings.text
        self.vision = SiglipVisionModel(
            SiglipVisionConfig(
                hidden_size=vision.enc_dim,
                intermediate_size=vision.enc_ff_dim,
                num_hidden_layers=vision.enc_n_layers,
                num_attention_heads=vision.enc_n_heads,
                image_size=vision.crop_size,
                patch_size=vision.enc_patch_size,
                hidden_act="gelu_pytorch_tanh",
                layer_norm_eps=1e-5,
                vision_use_head=False,
            )
        )
        self.projector = nn.ModuleDict(
            {
                "fc1": nn.Linear(2 * vision.enc_dim, vision.proj_inner_dim),
                "fc2": nn.Linear(vision.proj_inner_dim, vision.proj_out_dim),
            }
        )
        self.text = PhiForCausalLM(
            PhiConfig(
                vocab_size=text.vocab_size,
                hidden_size=text.dim,
                intermediate_size=text.ff_dim,
                num_hidden_layers=text.n_layers,
                num_attention_heads=text.n_heads,
                num_key_value_heads=text.n_kv_heads,
                max_position_embeddings=text.max_context,
                hidden_act="gelu_new",
                layer_norm_eps=1e-5,
                rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
                bos_token_id=settings.tokenizer.bos_id,
                eos_token_id=settings.tokenizer.eos_id,
                tie_word_embeddings=False,
            )
        )

    def crop(self, image: NDArray[np.uint8]) -> tuple[Tensor, Tiling]:
        """One uint8 height x width x 3 image -> its distinct crops and its tiling, as `Images` wants them."""
        crops, tiling = overlap_crops(image, self.settings.vision)
        return torch.from_numpy(crops[:1] if tiling == (1, 1) else crops), tiling

    def crop_tensor(self, pixels: Tensor) -> tuple[Tensor, Tiling]:
        """`crop` for float (3, height, width) pixels in [0, 255], with gradients; see `overlap_crops_tensor`."""
        crops, tiling = overlap_crops_tensor(pixels, self.settings.vision)
        return (crops[:1] if tiling == (1, 1) else crops), tiling

    @staticmethod
    def stack(cropped: Sequence[tuple[Tensor, Tiling]]) -> Images:
        """Cropped images, of any tilings -> a batch."""
        return {"crops": torch.cat([crops for crops, _ in cropped]), "tilings": [tiling for _, tiling in cropped]}

    @staticmethod
    def split(images: Images) -> list[Images]:
        """A batch in parts that go through the decoder together: keys and values of large batches fill a memory."""
        size = IMAGES_AT_ONCE.get(images["crops"].device.type, 4)
        counts = [1 if tiling == (1, 1) else 1 + tiling[0] * tiling[1] for tiling in images["tilings"]]
        parts: list[Images] = []
        start = 0
        for first in range(0, len(counts), size):
            end = start + sum(counts[first : first + size])
            parts.append({"crops": images["crops"][start:end], "tilings": images["tilings"][first : first + size]})
            start = end
        return parts

    def encode_crops(self, crops: Tensor) -> Tensor:
        """(total, size, size, 3) uint8 crops -> (total, tokens, enc_dim) features."""
        dtype = self.projector["fc1"].weight.dtype
        features = []
        for part in crops.split(CROPS_AT_ONCE.get(crops.device.type, 8)):
            pixels = part.permute(0, 3, 1, 2).to(torch.float32).div(255).sub(0.5).div(0.5)
            features.append(self.vision(pixel_values=pixels.to(dtype)).last_hidden_state)
        return torch.cat(features)

    def encode_images(self, images: Images) -> Tensor:
        """A batch of n images -> (n, tokens, dim) image tokens; one pass of the encoder over all crops."""
        vision = self.settings.vision
        features = self.encode_crops(images["crops"])
        views, local, start = [], [], 0
        for rows, columns in images["tilings"]:
            views.append(features[start])
            start += 1
            if (rows, columns) == (1, 1):
                local.append(views[-1])
                continue
            tiles = features[start : start + rows * columns].unflatten(1, (vision.grid, vision.grid))
            start += rows * columns
            whole = stitch(tiles, (rows, columns), vision.overlap_margin).permute(2, 0, 1)
            local.append(F.adaptive_avg_pool2d(whole, (vision.grid, vision.grid)).flatten(1).T)
        return self.project(torch.stack(views), torch.stack(local))

    def project(self, view: Tensor, local: Tensor) -> Tensor:
        """(n, tokens, enc_dim) features of the global views and of the stitched tiles -> (n, tokens, dim)."""
        hidden = self.projector["fc1"](torch.cat([view, local], dim=-1))
        return self.projector["fc2"](F.gelu(hidden, approximate="tanh"))

    def embed_prefix(self, tokens: Tensor) -> Tensor:
        """(n, tokens, dim) image tokens -> (n, 1 + tokens, dim): BOS before them."""
        bos = torch.full((len(tokens), 1), self.settings.tokenizer.bos_id, device=tokens.device)
        return torch.cat([self.text.get_input_embeddings()(bos), tokens], dim=1)

    def forward(
        self, images: Images, ids: Tensor, visible: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """(n, t) token ids after the prefix -> (n, t, vocabulary) logits, in one pass; see `decode`."""
        return self.decode(self.encode_images(images), ids, visible, positions)

    def decode(
        self,
        tokens: Tensor,
        ids: Tensor,
        visible: Tensor | None = None,
        positions: Tensor | None = None,
        kept: Tensor | None = None,
    ) -> Tensor:
        """(n, tokens, dim) image tokens and (n, t) token ids after them -> (n, t, vocabulary) logits, in one pass; this
        is what training uses.

        visible: (n or 1, t, t) bool, which token sees which (default: every earlier one and itself), so that several
        questions share one prefix. positions: (n or 1, t), counted from the end of the prefix (default: 0, 1, ...).
        kept: which of the image tokens `tokens` are, where some were left out to train faster.
        """
        prefix = self.embed_prefix(tokens)
        n, p, t = len(prefix), prefix.shape[1], ids.shape[1]
        if visible is None:
            visible = torch.ones(1, t, t, dtype=torch.bool, device=ids.device).tril()
        if positions is None:
            positions = torch.arange(t, device=ids.device)[None]
        mask = torch.zeros(len(visible), 1, p + t, p + t, dtype=torch.bool, device=ids.device)
        mask[..., :p] = True
        mask[:, 0, p:, p:] = visible
        if self.text.config._attn_implementation == "eager":  # which adds the mask where others look it up
            mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, torch.finfo(torch.float32).min)
        image = torch.arange(p - 1, device=ids.device) if kept is None else kept
        before = F.pad(1 + image, (1, 0)).expand(len(positions), p)
        output = self.text(
            inputs_embeds=torch.cat([prefix, self.text.get_input_embeddings()(ids)], dim=1),
            attention_mask=mask.expand(n, 1, p + t, p + t),
            position_ids=torch.cat([before, self.settings.text.prefix_attn + positions], dim=1),
            logits_to_keep=t,
            use_cache=False,
        )
        return output.logits

    def prefill(self, images: Images) -> DynamicCache:
        """Keys and values of BOS and the image: computed once, good for any number of prompts."""
        prefix = self.embed_prefix(self.encode_images(images))
        size = prefix.shape[1]
        # one for all images: every layer of the decoder turns it into numbers
        everything = torch.ones(1, 1, size, size, dtype=torch.bool, device=prefix.device)
        output = self.text.model(inputs_embeds=prefix, attention_mask=everything, use_cache=True)
        return output.past_key_values

    def continue_with(self, cache: DynamicCache, prompt_ids: Sequence[int]) -> Tensor:
        """(n, vocabulary) float32 logits of the token after the prefix and a prompt; the cache is left as it was."""
        ids, own = self._prompt(cache, prompt_ids)
        return self.text(input_ids=ids, past_key_values=own, logits_to_keep=1).logits[:, -1].float()

    def generate(self, cache: DynamicCache, prompt_ids: Sequence[int], max_tokens: int) -> Tensor:
        """(n, at most max_tokens) ids, greedy, padded with EOS once an image's text has ended."""
        ids, own = self._prompt(cache, prompt_ids)
        before = cache.get_seq_length()
        eos = self.settings.tokenizer.eos_id
        seen = F.pad(ids, (before, 0), value=eos)  # their keys are in the cache; only their number matters
        output = cast(Any, self.text).generate(
            input_ids=seen,
            attention_mask=torch.ones_like(seen),
            past_key_values=own,
            max_new_tokens=max_tokens,
            do_sample=False,
            pad_token_id=eos,
            eos_token_id=eos,
        )
        return output[:, seen.shape[1] :]

    def _prompt(self, cache: DynamicCache, prompt_ids: Sequence[int]) -> tuple[Tensor, DynamicCache]:
        """The prompt for every image of the cache, and a cache of its own that may grow."""
        pairs = [(layer.keys, layer.values) for layer in cast(Any, cache.layers)]
        keys = pairs[0][0]
        # sent, not made there: that would wait until the GPU has done all that went before
        ids = to_device(torch.tensor([list(prompt_ids)]), keys.device).expand(len(keys), -1)
        return ids, DynamicCache(pairs)
