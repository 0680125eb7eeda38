"""The Inception network of published FID, from a file that the user has."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpgan.metrics.features.files import load_weights, pickled
from gpgan.metrics.features.pictures import check_images, fold, parts, resized

FILE = "pt_inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
FEATURES, CLASSES, SIDE = 2048, 1008, 299


class _Conv(nn.Module):
    """A convolution, BatchNorm and ReLU; a kernel of two numbers is height and width."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int | tuple[int, int] = 1, stride: int = 1, padded: bool = True
    ) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if padded else 0
        self.conv = nn.Conv2d(inputs, outputs, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def _mean_of_neighbours(x: Tensor) -> Tensor:
    """Means over 3 x 3 pixels; at the border over those within the image, as TensorFlow takes them."""
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class _A(nn.Module):
    """35 x 35 pixels: branches of 1 x 1, 5 x 5 and twice 3 x 3."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(inputs, 64)
        self.branch5x5_1, self.branch5x5_2 = _Conv(inputs, 48), _Conv(48, 64, 5)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Conv(inputs, 64), _Conv(64, 96, 3)
        self.branch3x3dbl_3 = _Conv(96, 96, 3)
        self.branch_pool = _Conv(inputs, pooled)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_mean_of_neighbours(x))], 1)


class _B(nn.Module):
    """From 35 x 35 to 17 x 17 pixels."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = _Conv(inputs, 384, 3, 2, padded=False)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Conv(inputs, 64), _Conv(64, 96, 3)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, 2, padded=False)

    def forward(self, x: Tensor) -> Tensor:
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), twice, F.max_pool2d(x, 3, 2)], 1)


class _C(nn.Module):
    """17 x 17 pixels: 7 x 7 as 1 x 7 and 7 x 1, once and twice."""

    def __init__(self, inputs: int, middle: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(inputs, 192)
        self.branch7x7_1, self.branch7x7_2 = _Conv(inputs, middle), _Conv(middle, middle, (1, 7))
        self.branch7x7_3 = _Conv(middle, 192, (7, 1))
        self.branch7x7dbl_1, self.branch7x7dbl_2 = _Conv(inputs, middle), _Conv(middle, middle, (7, 1))
        self.branch7x7dbl_3, self.branch7x7dbl_4 = _Conv(middle, middle, (1, 7)), _Conv(middle, middle, (7, 1))
        self.branch7x7dbl_5 = _Conv(middle, 192, (1, 7))
        self.branch_pool = _Conv(inputs, 192)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_mean_of_neighbours(x))], 1)


class _D(nn.Module):
    """From 17 x 17 to 8 x 8 pixels."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = _Conv(inputs, 192), _Conv(192, 320, 3, 2, padded=False)
        self.branch7x7x3_1, self.branch7x7x3_2 = _Conv(inputs, 192), _Conv(192, 192, (1, 7))
        self.branch7x7x3_3, self.branch7x7x3_4 = _Conv(192, 192, (7, 1)), _Conv(192, 192, 3, 2, padded=False)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, F.max_pool2d(x, 3, 2)], 1)


class _E(nn.Module):
    """8 x 8 pixels: 3 x 3 as 1 x 3 beside 3 x 1. The last one pools by the maximum, as that of published FID does."""

    def __init__(self, inputs: int, last: bool) -> None:
        super().__init__()
        self.branch1x1 = _Conv(inputs, 320)
        self.branch3x3_1 = _Conv(inputs, 384)
        self.branch3x3_2a, self.branch3x3_2b = _Conv(384, 384, (1, 3)), _Conv(384, 384, (3, 1))
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Conv(inputs, 448), _Conv(448, 384, 3)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = _Conv(384, 384, (1, 3)), _Conv(384, 384, (3, 1))
        self.branch_pool = _Conv(inputs, 192)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, 1, 1) if self.last else _mean_of_neighbours(x)
        parts = [self.branch1x1(x), self.branch3x3_2a(once), self.branch3x3_2b(once)]
        parts += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice), self.branch_pool(pooled)]
        return torch.cat(parts, 1)


class Inception(nn.Module):
    """Images ``[n, 3, 299, 299]`` from -1 to 1 to features ``[n, 2048]``; the names are those of the file.

    Source:
        Szegedy et al., Rethinking the Inception Architecture, arXiv 1512.00567, as in TensorFlow's graph of 5 December
        2015 that FID is computed with (Heusel et al., arXiv 1706.08500). It differs from torchvision's inception_v3 in its
        1008 classes and its pooling.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, 2, padded=False)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3)
        self.Conv2d_3b_1x1 = _Conv(64, 80)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3, padded=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _A(192, 32), _A(256, 64), _A(288, 64)
        self.Mixed_6a = _B(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (
            _C(768, middle) for middle in (128, 160, 160, 192)
        )
        self.Mixed_7a = _D(768)
        self.Mixed_7b, self.Mixed_7c = _E(1280, False), _E(2048, True)
        self.fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean((2, 3))


class InceptionFeatures:
    """The feature network of the name inception: see ``FeatureNetwork``.

    Args:
        shape: Of one image, ``[C, H, W]`` with 1 or 3 channels.
        weights: The file pt_inception-2015-12-05-6726825d.pth, or one with the same keys and shapes.
        device: Where it runs.

    Raises:
        ValueError: The samples are not such images, or the file is missing or holds another network.
    """

    name, dimension = "inception", FEATURES
    classes: Sequence[str] = tuple(f"Inception {index}" for index in range(CLASSES))

    def __init__(self, shape: Sequence[int], weights: Path | None, device: str = "cpu") -> None:
        self.notes: Sequence[str] = check_images(self.name, shape)
        if weights is None:
            raise ValueError(
                f"features is 'inception', whose weights no package has; expected --inception-weights FILE with {FILE}, which "
                "the project pytorch-fid publishes"
            )
        network = load_weights(weights, Inception, pickled, expected=f"{FILE}, which the project pytorch-fid publishes")
        fold(network)
        self._network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device
        file_hash = hashlib.sha256(weights.read_bytes()).hexdigest()
        self.about = f"Inception of FID, {FEATURES} features, images resized to {SIDE} x {SIDE}"
        if file_hash != SHA256:
            self.notes = [
                *self.notes,
                f"{weights} is not {FILE}, by its SHA-256: do not compare with published values of FID",
            ]
        self.identity = hashlib.sha256(f"{file_hash} {self.about} 1".encode()).hexdigest()

    @torch.no_grad()
    def features(self, samples: Tensor) -> Tensor:
        return torch.cat([self._features(part) for part in parts(samples, SIDE, self.device)]).cpu()

    def _features(self, samples: Tensor) -> Tensor:
        images = resized(samples.to(self.device), SIDE, "bilinear")
        features: Tensor = self._network(images.contiguous(memory_format=torch.channels_last))
        return features

    @torch.no_grad()
    def probabilities(self, features: Tensor) -> Tensor:
        return torch.softmax(self._network.fc(features.to(self.device)), 1).cpu()
