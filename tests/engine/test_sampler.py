"""The sampler draws by the probabilities it promises, and every draw belongs to its request alone."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare, kstest

from tonewheel.engine.randomness import uniform
from tonewheel.engine.request import Sampling
from tonewheel.engine.sampler import Need, Sampler
from tonewheel.errors import InvalidRequest

VOCABULARY = 40
DRAWS = 40_000
CODEBOOK = torch.tensor([0])


def exact(logits: torch.Tensor, s: Sampling) -> torch.Tensor:
    """Probabilities [V] by the book: temperature, then top-k, then top-p, in double precision."""
    scaled = logits.double() / s.temperature
    order = scaled.argsort(descending=True)
    p = scaled[order].softmax(0)
    if s.top_k:
        p[s.top_k :] = 0
        p = p / p.sum()
    keep = (p.cumsum(0) - p) < s.top_p
    keep[0] = True
    p = torch.where(keep, p, 0)
    return torch.zeros_like(p).scatter(0, order, p / p.sum())


def drawn(logits: torch.Tensor, s: Sampling, count: int = DRAWS, company: Sampling | None = None) -> torch.Tensor:
    """`count` tokens, one a step; with `company` a second request sits beside it."""
    settings = [s] if company is None else [company, s]
    sampler = Sampler(len(settings), torch.device("cpu"))
    for slot, one in enumerate(settings):
        sampler.set(slot, one)
    need = Need.of(settings)
    steps = torch.arange(count)
    mine = len(settings) - 1
    # As many rows as steps, all of one slot: the draw knows rows only by their slot and step.
    slots = torch.full((count,), mine)
    rows = logits.expand(count, 1, -1)
    return sampler.draw(rows, slots, steps, CODEBOOK, need)[:, 0]


@pytest.mark.parametrize(
    "s",
    [
        Sampling(top_k=0),
        Sampling(top_k=0, temperature=0.5),
        Sampling(top_k=0, temperature=2.0),
        Sampling(top_k=7),
        Sampling(top_k=0, top_p=0.8),
        Sampling(top_k=12, top_p=0.6, temperature=1.5),
        Sampling(top_k=1000, top_p=0.95),
    ],
    ids=str,
)
def test_tokens_come_as_often_as_their_probability_says(s: Sampling) -> None:
    logits = torch.randn(VOCABULARY, generator=torch.manual_seed(2)) * 1.5
    p = exact(logits, s)
    counts = drawn(logits, s).bincount(minlength=VOCABULARY)
    assert counts[p == 0].sum() == 0
    often = p * DRAWS >= 5  # the usual condition of the test; the rest is one class
    found = torch.cat([counts[often].double(), counts[~often].sum()[None].double()])
    wanted = torch.cat([p[often], p[~often].sum()[None]]) * DRAWS
    some = wanted > 0
    # Seeds are fixed, so this can not fail by chance; below 1e-4 the sampler would be wrong.
    assert chisquare(found[some], wanted[some] * found.sum() / wanted[some].sum()).pvalue > 1e-4


@pytest.mark.parametrize(
    "s",
    [
        Sampling(top_k=7, seed=5),
        Sampling(top_k=0, seed=5),
        Sampling(top_k=0, top_p=0.7, seed=5),
        Sampling(top_k=9, top_p=0.9),
    ],
    ids=str,
)
def test_what_a_neighbour_wants_changes_no_draw(s: Sampling) -> None:
    logits = torch.randn(VOCABULARY, generator=torch.manual_seed(3))
    alone = drawn(logits, s, 5000)
    neighbours = (
        Sampling(top_k=0), Sampling(top_k=3), Sampling(top_k=39, top_p=0.1), Sampling(top_k=0, top_p=0.5),
        Sampling(do_sample=False),
    )  # fmt: skip
    for company in neighbours:
        assert torch.equal(alone, drawn(logits, s, 5000, company)), company


def test_equally_likely_tokens_are_drawn_alike_whatever_a_neighbour_wants() -> None:
    """Half precision is full of ties, which torch's selection and its sort order differently."""
    logits = torch.randn(VOCABULARY, generator=torch.manual_seed(3)).mul(2).round()
    for s in (Sampling(top_k=7, seed=5), Sampling(top_k=0, top_p=0.7, seed=5)):
        alone = drawn(logits, s, 5000)
        for company in (Sampling(top_k=0), Sampling(top_k=8), Sampling(top_k=39, top_p=0.1)):
            assert torch.equal(alone, drawn(logits, s, 5000, company)), company


def test_another_seed_draws_other_tokens() -> None:
    logits = torch.zeros(VOCABULARY)
    first, second = (drawn(logits, Sampling(top_k=0, seed=n), 2000) for n in (0, 1))
    assert (first == second).float().mean() < 0.06  # 1 in 40 by chance


@pytest.mark.parametrize(
    "s", [Sampling(top_p=0), Sampling(top_k=1), Sampling(do_sample=False), Sampling(temperature=0.001)]
)
def test_the_narrowest_settings_take_the_likeliest(s: Sampling) -> None:
    logits = torch.randn(VOCABULARY, generator=torch.manual_seed(4))
    assert (drawn(logits, s, 200) == logits.argmax()).all()


def test_a_token_that_is_not_allowed_never_comes() -> None:
    logits = torch.zeros(VOCABULARY)
    logits[3:] = -torch.inf
    assert drawn(logits, Sampling(top_k=0), 3000).max() == 2
    assert drawn(logits, Sampling(top_k=250, top_p=0.99), 3000).max() == 2


def test_guidance_leans_away_from_the_unconditional_branch() -> None:
    sampler = Sampler(2, torch.device("cpu"))
    sampler.set(0, Sampling(guidance_scale=3.0))
    sampler.set(1, Sampling(guidance_scale=1.0))
    c, u = torch.randn(2, 1, 5), torch.randn(2, 1, 5)
    guided = sampler.guide(c, u, torch.tensor([0, 1]))
    assert torch.allclose(guided[0], u[0] + 3 * (c[0] - u[0]))
    assert torch.equal(guided[1], c[1])


def test_uniform_numbers_are_uniform_and_do_not_depend_on_one_another() -> None:
    steps, codebooks = torch.arange(5000), torch.arange(4)
    x = uniform(torch.full((5000,), 7), steps, codebooks, torch.float64)
    assert x.shape == (5000, 4) and x.min() >= 0 and x.max() < 1
    assert kstest(x.flatten().numpy(), "uniform").pvalue > 1e-4
    near = torch.corrcoef(torch.stack([x[:-1, 0], x[1:, 0], x[:-1, 1], x[1:, 3]])) - torch.eye(4)
    assert near.abs().max() < 0.06
    neighbours = uniform(torch.arange(5000), torch.zeros(5000, dtype=torch.int64), codebooks[:1], torch.float64)
    assert kstest(neighbours.flatten().numpy(), "uniform").pvalue > 1e-4  # seeds 0, 1, 2 … are as good as any


def test_the_hash_is_splitmix64() -> None:
    """Against the algorithm in plain integers."""

    def mix(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    for seed, step, codebook in ((0, 0, 0), (7, 1500, 3), (2**63 - 1, 1, 7)):
        bits = mix((mix((seed + golden) % 2**64) + ((step << 8) + codebook) * golden) % 2**64)
        found = uniform(torch.tensor([seed]), torch.tensor([step]), torch.tensor([codebook]), torch.float64)
        assert found.item() == (bits >> 11) * 2.0**-53


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0.0),
        ("temperature", float("nan")),
        ("top_k", -1),
        ("top_p", 1.1),
        ("guidance_scale", 0.5),
        ("seed", -1),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(InvalidRequest, match=field):
        Sampling(**{field: value})  # type: ignore[arg-type]
