"""Every choice of objective, constraint, penalty and optimizer, compared with a plain script of the same mathematics."""

import copy
import math

import numpy as np
import pytest
import torch
from plain_script import LOSSES, Script, smooth_critic
from small_runs import small, stats_of, without_pictures
from torch import nn
from worker import Together

from gpgan.critic.step import CriticStep
from gpgan.data import Dataset
from gpgan.records import checkpoint
from gpgan.training.trainer import Trainer

# A tenth is held out, 6 and 54, so that three steps of two batches of 12 go beyond the first epoch.
RNG = torch.Generator().manual_seed(0)
POINTS = Dataset("points", torch.randn(60, 3, generator=RNG), labels=torch.arange(60) % 3, classes=("a", "b", "c"))
IMAGES = Dataset("images", torch.rand(60, 1, 8, 8, generator=RNG) * 2 - 1)


SETTINGS = {
    "steps": 3, "batch": 12, "n_critic": 2, "tick": 1, "checkpoint": 100, "network.ema": 0.0, "optimizer.lr": 0.02,
    "optimizer.beta1": 0.3, "optimizer.beta2": 0.9, "penalty.weight": 0.5,
}  # fmt: skip
SGD = {"optimizer.kind": "sgd", "optimizer.lr": 0.05, "optimizer.beta1": 0.6}
RMSPROP = {"optimizer.kind": "rmsprop", "optimizer.beta2": 0.8}
OPEN = {"penalty.weight": 0.0}
CASES = {
    **{name: {"objective": name} for name in LOSSES},
    **{f"{name}, no penalty": {"objective": name, **OPEN} for name in ("hinge", "relativistic")},
    **{f"{name}, conditional": {"objective": name, "conditional": True} for name in ("minimax", "relativistic")},
    "sgd": SGD,
    "rmsprop": RMSPROP,
    "linear": {"optimizer.schedule": "linear"},
    "gradient clipping": {"optimizer.clip": 0.05},
    "weight clipping": {"weight_clip": 0.2, **OPEN, **RMSPROP},
    "weight and gradient clipping": {"weight_clip": 0.2, "optimizer.clip": 0.05, **OPEN, **SGD},
    "spectral norm": {"objective": "least-squares", "network.spectral_norm": True, **OPEN},
    "spectral norm, penalty": {"network.spectral_norm": True},
    "spectral norm, relativistic": {"objective": "relativistic", "network.spectral_norm": True, **OPEN},
    "pack of 2": {"pack": 2},
    "pack of 4": {"pack": 4, "objective": "non-saturating", **OPEN},
    "pack of 3, relativistic": {"pack": 3, "objective": "relativistic", "penalty.points": "both"},
    "real": {"penalty.points": "real", "penalty.target": 0.0},
    "fake": {"penalty.points": "fake", "penalty.target": 0.0},
    "both": {"penalty.points": "both", "penalty.target": 0.0},
    "both, conditional": {"penalty.points": "both", "conditional": True},
    "noisy": {"penalty.points": "noisy"},
    "noisy, pack": {"penalty.points": "noisy", "pack": 2},
    "one-sided": {"penalty.one_sided": True, "penalty.target": 1.5},
    "lazy": {"penalty.lazy": 2},
    "lazy, sgd": {"penalty.lazy": 2, **SGD},
    "lazy, rmsprop": {"penalty.lazy": 2, **RMSPROP},
    "lazy, linear": {"penalty.lazy": 2, "optimizer.schedule": "linear", "penalty.points": "real"},
    "lazy, but no penalty": {"penalty.lazy": 2, "objective": "hinge", **OPEN},
}
# gpgan's own networks, with SGD: Adam would turn a gradient that is only rounding into a full step.
OWN = {
    "mlp": (POINTS, {"network.kind": "mlp"}),
    "mlp, layer": (POINTS, {"network.kind": "mlp", "network.norm": "layer", "network.critic_depth": 3}),
    "mlp, batch": (POINTS, {"network.kind": "mlp", "network.norm": "batch", "objective": "relativistic", **OPEN}),
    "mlp, batch, penalty": (POINTS, {"network.kind": "mlp", "network.norm": "batch"}),
    "mlp, spectral norm, conditional": (
        POINTS,
        {"network.kind": "mlp", "network.spectral_norm": True, "conditional": True, "penalty.points": "both"},
    ),
    "conv, pack": (IMAGES, {"network.kind": "conv", "pack": 2, "objective": "least-squares", "penalty.lazy": 2}),
    "conv, batch": (IMAGES, {"network.kind": "conv", "network.norm": "batch", "objective": "hinge", **OPEN}),
    "resnet, spectral norm": (
        IMAGES,
        {"network.kind": "resnet", "network.spectral_norm": True, "objective": "hinge", **OPEN},
    ),
}
ROUNDING = 2e-5


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    without_pictures(monkeypatch)


def trainer_of(out, dataset=POINTS, **settings):
    own = {} if "network.kind" in settings else {
        "network.generator": "plain_script:smooth_generator", "network.critic": "plain_script:smooth_critic"
    }  # fmt: skip
    return Trainer(small(out, dataset.name, dataset, **{**SETTINGS, **own, **settings}), dataset=dataset)


def flat(module):
    return torch.cat([value.double().flatten() for value in module.state_dict().values()])


def apart(ours, theirs, start):
    """The distance between two modules, relative to how far the second one moved."""
    return float((flat(ours) - flat(theirs)).norm() / (flat(theirs) - flat(start)).norm())


def check(trainer):
    start = copy.deepcopy((trainer.generator, trainer.critic))
    script = Script(trainer)
    wanted = script.run()
    lines = stats_of(trainer.fit().run)
    for ours, theirs, before in zip(
        (trainer.generator, trainer.critic), (script.generator, script.critic), start, strict=True
    ):
        assert list(ours.state_dict()) == list(theirs.state_dict())
        assert apart(ours, theirs, before) < ROUNDING
    for line, numbers in zip(lines, wanted, strict=True):
        for name, number in numbers.items():
            assert line[name] == (None if number is None else pytest.approx(number, rel=1e-4, abs=2e-5)), name


@pytest.mark.filterwarnings("ignore:a critic with clipped weights")
@pytest.mark.parametrize("case", CASES)
def test_a_run_is_the_plain_script(tmp_path, case):
    check(trainer_of(tmp_path, **CASES[case]))


@pytest.mark.filterwarnings("ignore:the critic has BatchNorm")
@pytest.mark.parametrize("case", OWN)
def test_a_run_of_gpgan_s_own_networks_is_the_plain_script(tmp_path, case):
    dataset, settings = OWN[case]
    check(trainer_of(tmp_path, dataset, **{**SGD, **settings}))


# These change the networks' shapes.
STRUCTURE = {"conditional", "pack", "network.spectral_norm"}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", [case for case in CASES if case not in ("wasserstein", "lazy, but no penalty")])
def test_every_setting_makes_a_difference(tmp_path, case):
    """So that the tests above would notice if the trainer ignored one."""
    settings = CASES[case]
    needed = {"penalty.weight"} if "weight_clip" in settings or settings.get("network.spectral_norm") else set()
    trainer = trainer_of(tmp_path, **settings)
    whole = Script(trainer)
    whole.run()
    for name in settings.keys() - STRUCTURE - needed:
        without = Script(trainer_of(tmp_path, **{key: value for key, value in settings.items() if key != name}))
        without.run()
        differences = [
            apart(getattr(without, which), getattr(whole, which), getattr(trainer, which))
            for which in ("critic", "generator")
        ]
        assert max(differences) > 100 * ROUNDING, name


@pytest.fixture
def stepped(monkeypatch):
    """After every critic step: the shapes of the critic's inputs, and its largest weight."""
    seen = []
    step = CriticStep.__call__

    def stepping(self, real, fake, **options):
        stats = step(self, real, fake, **options)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        largest = max(float(p.detach().abs().max()) for p in parameters)
        seen.append((tuple(real.shape), tuple(fake.shape), tuple(options["alpha"].shape), largest))
        return stats

    monkeypatch.setattr(CriticStep, "__call__", stepping)
    return seen


@pytest.mark.filterwarnings("ignore:a critic with clipped weights")
@pytest.mark.parametrize("optimizer", [RMSPROP, SGD], ids=["rmsprop", "sgd"])
def test_clipped_weights_stay_within_the_limit_after_every_step(tmp_path, stepped, optimizer):
    trainer = trainer_of(tmp_path, weight_clip=0.03, **OPEN, **optimizer)
    widest = max(float(p.detach().abs().max()) for p in trainer.generator.parameters())
    trainer.fit()
    limit = np.float32(0.03)
    # Some weight is always at the limit: the initial ones are far beyond it.
    assert [largest for *_, largest in stepped] == [limit] * 6
    assert all((p.abs() == limit).any() for p in trainer.critic.parameters())
    assert max(float(p.detach().abs().max()) for p in trainer.generator.parameters()) > widest / 2 > limit


@pytest.mark.parametrize(
    ("dataset", "settings", "shape"),
    [
        (POINTS, {"network.kind": "mlp"}, (4, 9)),
        (IMAGES, {"network.kind": "mlp"}, (4, 3, 8, 8)),
        (IMAGES, {"network.kind": "conv"}, (4, 3, 8, 8)),
    ],
    ids=["points", "images, mlp", "images, conv"],
)
def test_the_critic_sees_packs(tmp_path, stepped, dataset, settings, shape):
    trainer = trainer_of(tmp_path, dataset, pack=3, **settings)
    line = stats_of(trainer.fit().run)[-1]
    assert [each[:3] for each in stepped] == [(shape, shape, (4,))] * 6
    assert line["images"] == 3 * 2 * 12  # single samples, not packs
    assert trainer.sampler(torch.randn(5, 4)).shape == (5, *dataset.shape)


@pytest.mark.parametrize("made", ["ours", "by name", "by object"])
def test_spectral_norm_of_every_critic(tmp_path, made):
    """The largest singular value of its weights is 1, to the precision of a few power iterations."""
    torch.manual_seed(0)
    settings = {"network.kind": "mlp"} if made == "ours" else {}
    config = trainer_of(tmp_path, **OPEN, **settings, **{"network.spectral_norm": True, "objective": "hinge"}).config
    own = {"critic": smooth_critic((3,))} if made == "by object" else {}
    state = torch.get_rng_state()
    trainer = Trainer(config, dataset=POINTS, **own)
    assert torch.equal(torch.get_rng_state(), state)
    trainer.fit()
    weights = [layer.weight for layer in trainer.critic.modules() if isinstance(layer, nn.Linear)]
    assert len(weights) == (3 if made == "ours" else 2)
    for weight in weights:
        assert float(torch.linalg.matrix_norm(weight.detach(), 2)) == pytest.approx(1, abs=0.15)
    assert all("parametrizations" not in name for name in trainer.generator.state_dict())


KINDS = {
    "adam": lambda group: (group["lr"], *group["betas"]),
    "rmsprop": lambda group: (group["lr"], group["alpha"]),
    "sgd": lambda group: (group["lr"], group["momentum"]),
}
REMEMBERS = {"adam": (0.3, 0.8), "rmsprop": (0.8,), "sgd": (0.3,)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lazy", [1, 3])
@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_rates_and_memories_of_the_optimizers(tmp_path, kind, lazy, weight):
    """beta1 is Adam's first and SGD's momentum, beta2 Adam's second and RMSprop's alpha. A lazy penalty changes neither."""
    settings = {"optimizer.kind": kind, "optimizer.beta1": 0.3, "optimizer.beta2": 0.8, "optimizer.schedule": "linear"}
    trainer = trainer_of(
        tmp_path, **settings, **{"penalty.lazy": lazy, "penalty.weight": weight, "objective": "hinge", "tick": 3}
    )
    for done in range(3):
        trainer.task.step(done + 1)
        rate = 0.02 * (1 - done / 3)
        of_generator, of_critic = (
            KINDS[kind](optimizer.param_groups[0])
            for optimizer in (trainer.task.generator_optimizer, trainer.task.critic_optimizer)
        )
        assert of_generator == pytest.approx((rate, *REMEMBERS[kind]))
        assert of_critic == of_generator


class Constant(nn.Module):
    """Every sample is the same point."""

    def __init__(self, latent, shape, classes=0):
        super().__init__()
        self.point = nn.Parameter(torch.tensor([0.5, -1.0, 2.0]))

    def forward(self, latents, labels=None):
        return self.point.expand(len(latents), -1)


class Sum(nn.Module):
    """The sum of a sample's numbers, times 1 + its label."""

    def __init__(self, shape, classes=0):
        super().__init__()
        self.slope = nn.Parameter(torch.ones(()))

    def forward(self, samples, labels=None):
        return self.slope * samples.sum(1) * (1 if labels is None else 1 + labels)


@pytest.mark.parametrize("objective", ["wasserstein", "hinge", "relativistic"])
@pytest.mark.parametrize("changes", [{}, {"pack": 2}, {"pack": 4}, {"conditional": True}], ids=str)
def test_held_out_estimate_in_closed_form(tmp_path, objective, changes):
    """512 fakes in 43 batches of 12. The point's numbers sum to 1.5. If each of the 6 held-out samples counts once, only whole
    packs of them count; paired with fakes, they are repeated."""
    config = small(tmp_path, "points", POINTS, **{**SETTINGS, "objective": objective, **changes})
    trainer = Trainer(config, dataset=POINTS, generator=Constant(4, (3,)), critic=Sum((3,)))
    sums = trainer.dataset.held_out.double().sum(1)
    labels = trainer.dataset.held_out_labels if changes.get("conditional") else None
    m = changes.get("pack", 1)
    rounds = torch.arange(12 * 43) % 6

    def scores(rows, of):
        scaled = of[rows] * (1 if labels is None else 1 + labels[rows])
        return scaled.view(-1, m).sum(1)

    f, r = scores(rounds, torch.full((6,), 1.5).double()), scores(torch.arange(6 // m * m), sums)
    beside = scores(rounds, sums)
    wanted = {
        "wasserstein": r.mean() - f.mean(),
        "hinge": 1 - ((1 - r).clamp(min=0).mean() + (1 + f).clamp(min=0).mean()) / 2,
        "relativistic": math.log(2) - (1 + (f - beside).exp()).log().mean(),
    }[objective]
    held_out = trainer.dataset.scaled(trainer.dataset.held_out)
    assert trainer.task.held_out_estimate(held_out, labels, 7) == pytest.approx(float(wanted), abs=1e-5)


def test_held_out_packs_of_sorted_data_are_mixed(tmp_path, monkeypatch):
    """Like those of training: a critic of packs tells real from fake by how similar the samples of a pack are."""
    dataset = Dataset("sorted", torch.arange(10_000.0).view(-1, 1))
    config = small(tmp_path, "sorted", dataset, steps=1, pack=4)
    trainer = Trainer(config, dataset=dataset)
    given = []
    monkeypatch.setattr(trainer.task, "held_out_estimate", lambda real, *_: given.append(real) or 0.0)
    trainer.fit()
    # 512 of 1000; packs of uniform numbers from 0 to 10^4 have a spread of 2240 on average, packs of neighbours one of 17.
    assert len(given[0]) == len(given[0].unique()) == 512
    assert float(given[0].mean()) == pytest.approx(5000, abs=500)
    assert float(given[0].view(-1, 4).std(1).mean()) > 2000


def test_too_few_held_out_samples_for_a_pack(tmp_path):
    """Six held-out samples, and packs of twelve."""
    assert {line["held_out"] for line in stats_of(trainer_of(tmp_path, pack=12).fit().run)} == {None}


@pytest.mark.parametrize("objective", ["hinge", "relativistic"])
@pytest.mark.parametrize("kind", ["norm", "spectral_norm"])
def test_lines_leave_no_trace_in_the_critic_s_buffers(tmp_path, objective, kind):
    """It changes neither the means of its BatchNorm nor the vectors of its power iterations."""
    own = {"network.kind": "mlp", f"network.{kind}": "batch" if kind == "norm" else True}
    ends = []
    for tick in (1, 1000):
        trainer = trainer_of(tmp_path, objective=objective, **{**OPEN, **own, "tick": tick})
        before = {name: buffer.clone() for name, buffer in trainer.critic.named_buffers()}
        trainer.fit()
        ends.append(trainer.critic.state_dict())
        # They are in use, but a vector with one entry is always 1 or -1.
        assert not any(torch.equal(ends[-1][name], value) for name, value in before.items() if value.numel() > 1)
    assert before
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


SHARED = {
    "unpaired": {"pack": 2, "objective": "hinge"},
    "paired": {"pack": 2, "objective": "relativistic", "penalty.points": "both", "penalty.lazy": 2},
    "spectral norm": {"pack": 3, "objective": "relativistic", "network.spectral_norm": True, **OPEN},
}


def work(rank, out):
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        for name, settings in SHARED.items():
            trainer_of(out, name=f"two {name}", **settings).fit()
        with pytest.raises(
            ValueError,
            match="pack is 4 and each of 2 processes has 6 samples of the batch; expected a batch that is a multiple of 8",
        ):
            trainer_of(out, pack=4)
    (out / f"refused {rank}").touch()


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes_pack_and_compare_as_one(tmp_path):
    """Each process has whole packs, and one fake pack per real pack."""
    with Together(tmp_path / "told", work, tmp_path) as pair:
        assert pair.ended() == [0, 0], pair.complained()
    assert all((tmp_path / f"refused {rank}").exists() for rank in (0, 1))
    for name, settings in SHARED.items():
        one = trainer_of(tmp_path, name=f"one {name}", **settings)
        start = copy.deepcopy((one.generator, one.critic))
        two = copy.deepcopy(start)
        one.fit()
        state = checkpoint.newest(tmp_path / f"two {name}")[0]
        for module, ours, before, which in zip(
            two, (one.generator, one.critic), start, ("generator", "critic"), strict=True
        ):
            module.load_state_dict(state[which])
            assert apart(module, ours, before) < ROUNDING, name
        for line, wanted in zip(stats_of(tmp_path / f"two {name}"), stats_of(one.run), strict=True):
            for key in ("critic_loss", "generator_loss", "estimate", "held_out", "penalty", "norm_mean"):
                assert line[key] == (wanted[key] and pytest.approx(wanted[key], rel=1e-4, abs=2e-5)), (name, key)


def test_layers_that_are_not_to_be_trained_stay_as_they_are(tmp_path):
    critic = smooth_critic((3,))
    layer = next(module for module in critic.modules() if isinstance(module, nn.Linear))
    layer.requires_grad_(False)
    before, others = layer.weight.clone(), copy.deepcopy(list(critic.parameters()))
    Trainer(trainer_of(tmp_path).config, dataset=POINTS, critic=critic).fit()
    assert torch.equal(layer.weight, before)
    assert [p.requires_grad for p in critic.parameters()] == [p.requires_grad for p in others]
    assert sum(not torch.equal(*pair) for pair in zip(critic.parameters(), others, strict=True)) == len(others) - 2


def test_settings_of_gpgan_s_own_critics_are_refused_beside_one_that_is_given(tmp_path):
    for settings in ({"network.norm": "layer"}, {"network.critic_depth": 4}):
        config = small(tmp_path, "points", POINTS, **settings)
        with pytest.raises(ValueError, match=r"network\.norm is .* and a critic is given; expected one of them"):
            Trainer(config, dataset=POINTS, critic=smooth_critic((3,)))


def test_batch_norm_sees_two_packs_or_more(tmp_path):
    """The same holds for held-out samples: 6 are only one pack of 4, so there is no estimate."""
    settings = {"network.kind": "mlp", "network.norm": "batch", "objective": "hinge", "batch": 8, **OPEN}
    lines = {m: stats_of(trainer_of(tmp_path / str(m), pack=m, **settings).fit().run) for m in (2, 4)}
    assert [all(line["held_out"] is None for line in of) for of in lines.values()] == [False, True]
