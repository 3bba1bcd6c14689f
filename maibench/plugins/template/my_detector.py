"""my_detector: an image in, a logit out. Try it: maibench check my_detector.py:MyDetector"""

import numpy as np
import torch
from torch.nn import functional as F

from maibench import Card, Detector


class MyDetector(Detector):
    """Calls images synthetic that are smoother, in their finest detail, than photographs tend to be."""

    card = Card(
        name="my_detector",
        summary="how much changes from one pixel to the next",
        licence="your licence",
        reference="where it was published",
        input_policy="the middle of 256 x 256 pixels at most; nothing is resized",
        trained_on=(),  # the generators of its training images; leave it out where they are not known
    )
    concurrent = True  # forward changes nothing of self: every core may run it

    def preprocess(self, image):  # uint8, height x width x 3, read-only
        top, left = (max(0, side - 256) // 2 for side in image.shape[:2])
        grey = image[top : top + 256, left : left + 256].mean(axis=2, dtype=np.float32)
        return torch.from_numpy(grey)

    def collate(self, items):  # leave it out where all results of preprocess have one size: they are then stacked
        return items

    def forward(self, batch):  # what collate made of n images -> (n,) logits; above 0 means synthetic
        return torch.stack([4 - self.detail(grey) for grey in batch])

    def detail(self, grey):
        padded = F.pad(grey[None, None], (1, 1, 1, 1), mode="replicate")
        return (grey - F.avg_pool2d(padded, 3, stride=1)[0, 0]).abs().mean()
