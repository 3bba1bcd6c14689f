"""Small detectors, each with one thing that a backend has to cope with."""

import torch
from torch import nn

import maibench


class Tiny(maibench.Detector):
    """A convolution and a mean, for images of any size."""

    card = maibench.Card(name="tiny")

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2))
        self.head = nn.Linear(8, 1)

    def preprocess(self, image):
        return torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255

    def forward(self, batch):
        return 10 * self.head(self.network(batch).mean(dim=(2, 3))).squeeze(1)


class Branching(Tiny):
    """Its answer hangs on an `if`, of which a traced graph keeps one side."""

    card = maibench.Card(name="branching")

    def forward(self, batch):
        logits = super().forward(batch)
        return logits if batch.mean() < 0.5 else -logits


class CountsPixels(Tiny):
    """Its answer hangs on the size, which a traced graph takes for constant."""

    card = maibench.Card(name="counts_pixels")

    def forward(self, batch):
        return super().forward(batch) + int(batch.shape[2]) / 10


class Unknown(Tiny):
    """ONNX has no word for one of its steps."""

    card = maibench.Card(name="unknown")

    def forward(self, batch):
        return super().forward(batch) + torch.linalg.eigvalsh(batch[:, 0, :8, :8]).sum(dim=1)


class Rounded(maibench.Detector):
    """Its logits are so close to zero that bfloat16 turns them over."""

    card = maibench.Card(name="rounded")

    def __init__(self):
        super().__init__()
        self.mean = nn.Linear(3, 1, bias=False)
        nn.init.constant_(self.mean.weight, 1 / 3)

    def preprocess(self, image):
        return torch.full((3,), 0.5001 + float(image.mean()) / 1e7)

    def forward(self, batch):
        return self.mean(batch).squeeze(1) - 0.5


class Listed(Tiny):
    """Its batches are lists."""

    card = maibench.Card(name="listed")

    def collate(self, items):
        return list(items)

    def forward(self, batch):
        return torch.cat([Tiny.forward(self, item[None]) for item in batch])


class OwnAnswer(Tiny):
    """It answers in its own way, past what a backend computes."""

    card = maibench.Card(name="own_answer")

    def answer(self, batch):
        logits = self(batch)
        return logits, logits.abs() < 0.1


class Failing(Tiny):
    card = maibench.Card(name="failing")

    def forward(self, batch):
        raise ValueError("out of order")


class Sleepy(Tiny):
    """It wastes time that a compiled graph does not."""

    card = maibench.Card(name="sleepy")

    def forward(self, batch):
        torch.rand(400, 400) @ torch.rand(400, 400)
        return super().forward(batch)
