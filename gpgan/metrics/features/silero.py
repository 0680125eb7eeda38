"""The encoder of a voice activity detector, for speech; its weights come from the package silero-vad."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor, nn

from gpgan.metrics.features.files import file_of, load_weights

PACKAGE, FILE, VERSION = "silero_vad", "data/silero_vad_16k.safetensors", "6.2.3"
SHA256 = "c59271c284ae9c8335d795d60e0bfdb71aaaceec578d9bd9ffc1b8153c319ea1"
FEATURES = 128
# Of the short-time Fourier transform, in samples at 16 kHz: 16 ms every 8 ms.
WINDOW, HOP = 256, 128
# Samples of one output of the encoder, 32 ms.
LEAST = 4 * HOP
# What every clip is scaled to, of 1: the usual level of speech, -26 dB.
LOUDNESS = 0.05
# Quieter clips, below -100 dB, are silence and are not amplified to LOUDNESS.
SILENCE = 1e-5


class Encoder(nn.Module):
    """Signals ``[n, T]`` at 16 kHz to ``[n, 128, frames]``, one frame every 32 ms; the names are those of the file.

    Source:
        Silero VAD 6: amplitudes of a Fourier transform, which is a convolution, and four convolutions. The LSTM and the
        output layer behind them are left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, WINDOW + 2, WINDOW, HOP, bias=False)
        self.conv1 = nn.Conv1d(WINDOW // 2 + 1, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, 2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, 2, padding=1)
        self.conv4 = nn.Conv1d(64, FEATURES, 3, padding=1)

    def forward(self, signals: Tensor) -> Tensor:
        padded = F.pad(signals[:, None], (HOP // 2, HOP // 2), mode="reflect")
        real, imaginary = self.stft_conv(padded).chunk(2, 1)
        x: Tensor = (real.square() + imaginary.square()).sqrt()
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = F.relu(conv(x))
        return x


class Silero:
    """The feature network of the name speech: see ``FeatureNetwork``.

    The features are the mean over time of log(1 + the encoder's output). Every clip is scaled to one loudness first, as
    the encoder would otherwise tell little but how loud it is.

    Args:
        shape: Of one signal, ``[1, T]`` with T at least 512, taken as speech at 16 kHz.
        device: Where it runs.

    Raises:
        ValueError: The samples are not such signals, or the weights cannot be used.
        ModuleNotFoundError: The package is not installed.
    """

    name, dimension = "speech", FEATURES
    classes: Sequence[str] = ()
    about = f"encoder of Silero VAD, for speech only, {FEATURES} features, signals at 16 kHz"
    notes: Sequence[str] = (
        "signals are taken as speech at 16 kHz",
        f"every signal is scaled to one loudness (RMS {LOUDNESS})",
    )

    def __init__(self, shape: Sequence[int], device: str = "cpu") -> None:
        if len(shape) != 2 or shape[0] != 1 or shape[1] < LEAST:
            raise ValueError(
                f"features is 'speech' and samples have shape {tuple(shape)}; expected speech [1, T] at 16 kHz with T at least "
                f"{LEAST}, or --features raw"
            )
        path = file_of(PACKAGE, FILE, features=self.name, install="silero-vad")
        self.device = device
        self._network = load_weights(
            path,
            Encoder,
            _encoder_of,
            expected=f"the weights of silero-vad {VERSION}: pip install --force-reinstall --no-deps silero-vad=={VERSION}",
            sha256=SHA256,
        ).to(device)
        self.identity = hashlib.sha256(f"{SHA256} {self.about} {LOUDNESS} 1".encode()).hexdigest()

    @torch.no_grad()
    def features(self, samples: Tensor) -> Tensor:
        signals = samples.to(self.device, torch.float32).flatten(1)
        loudness = signals.square().mean(1, keepdim=True).sqrt()
        scaled = signals * (LOUDNESS / loudness.clamp_min(SILENCE))
        features: Tensor = self._network(scaled).log1p().mean(2)
        return features.cpu()

    def probabilities(self, features: Tensor) -> Tensor:
        raise NotImplementedError


def _encoder_of(content: bytes) -> dict[str, Tensor]:
    """The encoder's part of the file."""
    return {key: value for key, value in load(content).items() if not key.startswith(("lstm_cell.", "final_conv."))}
