"""The features of speech."""

import math

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from gpgan.metrics.features import files, silero
from gpgan.metrics.features.silero import FILE, PACKAGE, Encoder, Silero

RATE = 16_000


def speech(count, seed=0):
    """[count, 1, 16000]: a source of glottal pulses with a moving pitch through three formants, in syllables."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(RATE) / RATE

    def drawn(low, high):
        return low + (high - low) * torch.rand(count, 1, generator=generator)

    pitch = drawn(90, 220) * (1 + 0.1 * torch.sin(2 * math.pi * drawn(1, 3) * time + drawn(0, 6)))
    phase = 2 * math.pi * pitch.cumsum(1) / RATE
    formants = [drawn(300, 800), drawn(900, 2200), drawn(2300, 3000)]
    signal = torch.zeros(count, RATE)
    for harmonic in range(1, 40):
        frequency = harmonic * pitch
        level = sum(torch.exp(-(((frequency - each) / 150) ** 2)) for each in formants) + 0.02
        signal += level / harmonic**0.5 * torch.sin(harmonic * phase) * (frequency < 7000)
    syllables = torch.sin(math.pi * drawn(3, 5) * time).square()
    breath = 0.05 * torch.randn(count, RATE, generator=generator)
    return 0.05 * ((signal + breath) * syllables)[:, None]


def low_passed(signals, taps):
    return F.conv1d(signals, torch.full((1, 1, taps), 1 / taps), padding=taps // 2)[..., :RATE]


@pytest.fixture(scope="module")
def network():
    return Silero((1, RATE))


@pytest.fixture(scope="module")
def clips():
    return speech(16)


def test_the_encoder_fits_the_file_key_by_key():
    with safe_open(files.package_file(PACKAGE, FILE), "pt") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118  not a dict
    own = {key: tuple(value.shape) for key, value in Encoder().state_dict().items()}
    assert own.items() <= shapes.items()
    assert {key.partition(".")[0] for key in shapes.keys() - own.keys()} == {"lstm_cell", "final_conv"}


def test_the_front_end_is_a_fourier_transform():
    """Of windows of 256 samples every 128: its amplitudes are those of torch.stft with the same window."""
    network = Encoder()
    with safe_open(files.package_file(PACKAGE, FILE), "pt") as file:
        kernel = file.get_tensor("stft_conv.weight")
    window = kernel[0, 0]  # the row of frequency 0 is the window itself
    signal = torch.randn(1, 2048)
    real, imaginary = F.conv1d(signal[:, None], kernel, stride=silero.HOP).chunk(2, 1)
    expected = torch.stft(signal, 256, 128, window=window, center=False, return_complex=True).abs()
    assert torch.allclose((real.square() + imaginary.square()).sqrt(), expected, atol=1e-3)
    assert network.stft_conv.weight.shape == kernel.shape


def moved(network, clips, changed):
    return float((network.features(changed) - network.features(clips)).norm(dim=1).mean())


def test_features_move_further_the_more_noise_there_is(network, clips):
    noise = torch.randn(clips.shape) * clips.square().mean().sqrt()
    distances = [moved(network, clips, clips + level * noise) for level in (0, 0.05, 0.1, 0.2, 0.5, 1)]
    assert distances[0] == 0
    assert distances == sorted(set(distances))


def test_features_move_further_the_duller_the_speech_is(network, clips):
    distances = [moved(network, clips, low_passed(clips, taps)) for taps in (1, 3, 5, 9, 17)]
    assert distances == sorted(set(distances))


def test_loudness_does_not_matter_and_it_says_so(network, clips):
    assert torch.allclose(network.features(clips * 0.1), network.features(clips), atol=1e-4)
    assert any("loudness" in note for note in network.notes)
    assert "speech only" in network.about


def test_silence_has_finite_features(network):
    assert network.features(torch.zeros(2, 1, RATE)).isfinite().all()


@pytest.mark.parametrize("length", [512, 700, 16_000])
def test_any_length_and_any_batch(length):
    network = Silero((1, length))
    clips = speech(5)[..., :length]
    whole = network.features(clips)
    assert whole.shape == (5, 128)
    assert whole.dtype == torch.float32
    assert torch.allclose(torch.cat([network.features(clips[:1]), network.features(clips[1:])]), whole, atol=1e-5)


@pytest.mark.parametrize("shape", [(16_000,), (2, 16_000), (1, 511), (1, 28, 28)])
def test_other_samples_are_refused(shape):
    with pytest.raises(
        ValueError, match=r"'speech' and samples have shape .*; expected speech \[1, T\].*--features raw"
    ):
        Silero(shape)


def test_another_version_of_the_file_is_refused(monkeypatch):
    monkeypatch.setattr(silero, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"its SHA-256 is another one\); expected .* 6\.2\.3: pip install") as error:
        Silero((1, RATE))
    assert "\n" not in str(error.value)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(files.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ModuleNotFoundError, match=r"'speech', which needs the package silero-vad.*pip install"
    ) as error:
        Silero((1, RATE))
    assert error.value.name == PACKAGE
