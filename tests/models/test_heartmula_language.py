"""HeartMuLa's language model on the engine is what the architecture says, step by step, alone and in company."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tonewheel.engine import Engine, GenerationRequest, Sampling
from tonewheel.engine.kernels import Kernels, PlainKernels
from tonewheel.engine.randomness import uniform
from tonewheel.errors import InvalidRequest, ModelBroken
from tonewheel.models.heartmula.flavors import TransformerShape
from tonewheel.models.heartmula.language import CODES, END, HeartmulaLanguage, HeartmulaPrompt, LanguageShape
from tonewheel.models.heartmula.transformer import rotary_table

SHAPE = LanguageShape(
    TransformerShape(3, 6, 2, 16, 96, 128, 512), TransformerShape(2, 4, 2, 24, 96, 80, 64), text_vocabulary=60
)
WAIT_S = 120


def tensors(shape: LanguageShape = SHAPE, seed: int = 3) -> dict[str, torch.Tensor]:
    """Random weights under the published names, every one filled."""
    dice = torch.Generator().manual_seed(seed)

    def some(*size: int, gain: float = 1.0) -> torch.Tensor:
        return torch.randn(*size, generator=dice) * gain / math.sqrt(size[-1])

    width, found = shape.backbone.width, {}
    for name, s in (("backbone", shape.backbone), ("decoder", shape.local)):
        for n in range(s.layers):
            at = f"{name}.layers.{n}"
            for kind, heads in (("q", s.heads), ("k", s.key_heads), ("v", s.key_heads)):
                found[f"{at}.attn.{kind}_proj.weight"] = some(heads * s.head_size, s.width, gain=1.5)
            found[f"{at}.attn.output_proj.weight"] = some(s.width, s.heads * s.head_size)
            found |= {
                f"{at}.mlp.w1.weight": some(s.feed_width, s.width),
                f"{at}.mlp.w3.weight": some(s.feed_width, s.width),
            }
            found[f"{at}.mlp.w2.weight"] = some(s.width, s.feed_width)
            for norm in ("sa_norm", "mlp_norm"):
                found[f"{at}.{norm}.scale"] = 1 + 0.2 * torch.randn(s.width, generator=dice)
        found[f"{name}.norm.scale"] = 1 + 0.2 * torch.randn(s.width, generator=dice)
    found["text_embeddings.weight"] = torch.randn(shape.text_vocabulary, width, generator=dice)
    found["audio_embeddings.weight"] = torch.randn(8 * shape.audio_vocabulary, width, generator=dice)
    found["unconditional_text_embedding.weight"] = torch.randn(1, width, generator=dice)
    found["projection.weight"] = some(width, width)
    found["codebook0_head.weight"] = some(shape.audio_vocabulary, width, gain=3.0)
    found["audio_head"] = torch.randn(7, width, shape.audio_vocabulary, generator=dice) * 3 / math.sqrt(width)
    found["muq_linear.weight"], found["muq_linear.bias"] = some(width, 512), torch.randn(width, generator=dice)
    return found


class ByHand:
    """The same model in a straight line: no cache, no joined matrices, one row at a time, rotary by complex numbers."""

    def __init__(self, weights: dict[str, torch.Tensor], shape: LanguageShape = SHAPE) -> None:
        self.w, self.shape = weights, shape

    @staticmethod
    def norm(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * scale

    @staticmethod
    def turn(x: torch.Tensor) -> torch.Tensor:
        """x [n, heads, size]; the scaling as Meta publishes it, wave length by wave length."""
        n, _, size = x.shape
        rates = []
        for i in range(0, size, 2):
            rate = 500_000.0 ** (-i / size)
            wave = 2 * math.pi / rate
            if wave > 8192 / 1.0:
                rate /= 32
            elif wave > 8192 / 4.0:
                smooth = (8192 / wave - 1.0) / (4.0 - 1.0)
                rate = (1 - smooth) * rate / 32 + smooth * rate
            rates.append(rate)
        angles = torch.outer(torch.arange(n).double(), torch.tensor(rates, dtype=torch.float64))
        turns = torch.polar(torch.ones_like(angles), angles)[:, None]
        pairs = torch.view_as_complex(x.double().reshape(*x.shape[:-1], -1, 2).contiguous())
        return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)

    def transformer(self, name: str, s: TransformerShape, x: torch.Tensor) -> torch.Tensor:
        w = self.w
        for n in range(s.layers):
            at = f"{name}.layers.{n}"
            h = self.norm(x, w[f"{at}.sa_norm.scale"])
            q, k, v = (
                (h @ w[f"{at}.attn.{kind}_proj.weight"].T).view(len(x), -1, s.head_size) for kind in ("q", "k", "v")
            )
            q, k = self.turn(q), self.turn(k)
            heads = []
            for head in range(s.heads):
                shared = head // (s.heads // s.key_heads)
                scores = q[:, head] @ k[:, shared].T / math.sqrt(s.head_size)
                scores = scores.masked_fill(torch.ones(len(x), len(x)).triu(1) > 0, -torch.inf)
                heads.append(scores.softmax(-1) @ v[:, shared])
            x = x + torch.cat(heads, -1) @ w[f"{at}.attn.output_proj.weight"].T
            h = self.norm(x, w[f"{at}.mlp_norm.scale"])
            gated = torch.nn.functional.silu(h @ w[f"{at}.mlp.w1.weight"].T) * (h @ w[f"{at}.mlp.w3.weight"].T)
            x = x + gated @ w[f"{at}.mlp.w2.weight"].T
        return self.norm(x, w[f"{name}.norm.scale"])

    def audio(self, k: int, code: int) -> torch.Tensor:
        return self.w["audio_embeddings.weight"][k * self.shape.audio_vocabulary + code]

    def prompt(self, p: HeartmulaPrompt, conditional: bool) -> list[torch.Tensor]:
        if not conditional:
            return [self.w["unconditional_text_embedding.weight"][0]] * len(p)
        words = self.w["text_embeddings.weight"]
        return [*words[p.tags], self.w["muq_linear.bias"], *words[p.lyrics]]

    def pick(self, rows: list[torch.Tensor], s: Sampling, step: int, k: int) -> int:
        c, u = rows[0], rows[-1]
        logits = u + s.guidance_scale * (c - u)
        logits[CODES:END] = -torch.inf
        logits[END + 1 :] = -torch.inf
        if not s.do_sample:
            return int(logits.argmax())
        values, ids = (logits / s.temperature).double().topk(s.top_k)
        sums = values.softmax(-1).cumsum(-1)
        number = uniform(torch.tensor([s.seed]), torch.tensor([step]), torch.tensor([k]), torch.float64).item()
        return int(ids[int((sums <= number * sums[-1]).sum())])

    def run(self, p: HeartmulaPrompt, frames: int, s: Sampling) -> torch.Tensor:
        branches = (True, False) if s.guidance_scale != 1 else (True,)
        made: list[list[int]] = []
        for step in range(frames):
            played = [torch.stack([self.audio(k, c) for k, c in enumerate(f)]).sum(0) for f in made]
            heard = [
                self.transformer("backbone", self.shape.backbone, torch.stack(self.prompt(p, b) + played))[-1]
                for b in branches
            ]
            codes = [self.pick([h @ self.w["codebook0_head.weight"].T for h in heard], s, step, 0)]
            for k in range(7):
                inputs = [torch.stack([h, *(self.audio(n, c) for n, c in enumerate(codes))]) for h in heard]
                ends = [
                    self.transformer("decoder", self.shape.local, x @ self.w["projection.weight"].T)[-1] for x in inputs
                ]
                codes.append(self.pick([e @ self.w["audio_head"][k] for e in ends], s, step, k + 1))
            if any(c >= END for c in codes):
                break
            made.append(codes)
        return torch.tensor(made, dtype=torch.int64).reshape(-1, 8).T


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return tensors()


@pytest.fixture(scope="module", params=["torch", "native"])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    if request.param == "torch":
        return PlainKernels()
    pytest.importorskip("tonewheel_kernels")
    from tonewheel.engine.kernels.native import NativeKernels

    return NativeKernels("float32")


@pytest.fixture(scope="module")
def model(weights: dict[str, torch.Tensor], kernels: Kernels) -> HeartmulaLanguage:
    with torch.inference_mode():
        return HeartmulaLanguage(
            SHAPE, weights.__getitem__, device=torch.device("cpu"), dtype=torch.float32, kernels=kernels
        )


def prompt(tags: int = 4, lyrics: int = 7) -> HeartmulaPrompt:
    return HeartmulaPrompt(torch.arange(1, 1 + tags), torch.arange(20, 20 + lyrics))


def run(model: HeartmulaLanguage, *requests: GenerationRequest, **more: object) -> list[torch.Tensor]:
    with Engine(model, 8, **more) as engine:  # type: ignore[arg-type]
        return [s.result(WAIT_S) for s in [engine.submit(r) for r in requests]]


GREEDY = Sampling(do_sample=False, guidance_scale=1.5)
SEEDED = Sampling(seed=77, top_k=50, temperature=0.9, guidance_scale=2.0)


@pytest.mark.parametrize("block", [False, True], ids=["by-rows", "as-block"])
@pytest.mark.parametrize(
    "s", [GREEDY, SEEDED, replace(SEEDED, guidance_scale=1.0)], ids=["greedy", "seeded", "unguided"]
)
def test_codes_are_those_of_a_straight_line(
    model: HeartmulaLanguage, weights: object, s: Sampling, block: bool
) -> None:
    wanted = ByHand(weights).run(prompt(), 12, s)  # type: ignore[arg-type]
    (found,) = run(model, GenerationRequest(prompt(), 12, s), block=block, prefill=4)
    assert torch.equal(found, wanted)
    assert wanted.shape == (8, 12) and len(wanted.unique()) > 40 and int(wanted.max()) < CODES


def test_the_unconditional_prompt_is_computed_once_for_all(weights: dict[str, torch.Tensor]) -> None:
    with torch.inference_mode():
        fresh = HeartmulaLanguage(SHAPE, weights.__getitem__, device=torch.device("cpu"), dtype=torch.float32)
    requests = [GenerationRequest(prompt(n, m), 5, GREEDY) for n, m in ((9, 12), (2, 3), (14, 30), (9, 12))]
    with Engine(fresh, 2, prefill=8) as engine:
        found = [engine.submit(r).result(WAIT_S) for r in requests]
    assert fresh._shared_length == 14 + 1 + 30 - 1  # the longest, its last position being the first step's
    by_hand = ByHand(weights)
    assert torch.equal(found[0], found[3])
    assert torch.equal(found[1], by_hand.run(prompt(2, 3), 5, GREEDY))
    assert torch.equal(found[2], by_hand.run(prompt(14, 30), 5, GREEDY))


def test_a_song_among_seven_others_gets_the_codes_it_gets_alone(model: HeartmulaLanguage) -> None:
    mine = GenerationRequest(prompt(6, 11), 14, SEEDED)
    (alone,) = run(model, mine)
    others = [
        GenerationRequest(prompt(2 + n, 3 + 2 * n), 6 + 3 * n, Sampling(seed=n, top_k=0, guidance_scale=1.0 + n % 3))
        for n in range(7)
    ]
    with Engine(model, 8) as engine:
        running = [engine.submit(r) for r in others]
        running[3].wait(2, WAIT_S)
        late = engine.submit(mine)
        assert torch.equal(late.result(WAIT_S), alone)
        for request, sequence in zip(others, running, strict=True):
            assert sequence.result(WAIT_S).shape[1] <= request.frames


def test_a_song_that_fills_every_position_the_model_has_and_gives_them_back(model: HeartmulaLanguage) -> None:
    words = prompt(3, 5)
    most = model.max_positions - len(words)
    with Engine(model, 1) as engine:
        codes = engine.submit(GenerationRequest(words, most, SEEDED)).result(10 * WAIT_S)
        assert codes.shape[1] == most and int(codes.max()) < CODES
        with pytest.raises(InvalidRequest):
            engine.submit(GenerationRequest(words, most + 2, SEEDED))
        (after,) = run(model, GenerationRequest(prompt(), 5, SEEDED))
        again = engine.submit(GenerationRequest(prompt(), 5, SEEDED)).result(WAIT_S)
        assert torch.equal(again, after)


def test_the_end_is_noticed_in_every_codebook_even_at_once(weights: dict[str, torch.Tensor]) -> None:
    for codebook in (0, 5):
        loud = dict(weights)
        heads = loud["audio_head"].clone()
        first = loud["codebook0_head.weight"].clone()
        if codebook:
            heads[codebook - 1, :, END] += 100 * weights["decoder.norm.scale"].sign()
            heads[codebook - 1, :, END] = heads[codebook - 1, :, END].abs()
        else:
            first[END] = 0
        loud |= {"audio_head": heads, "codebook0_head.weight": first}
        with torch.inference_mode():
            ended = HeartmulaLanguage(SHAPE, loud.__getitem__, device=torch.device("cpu"), dtype=torch.float32)
        wanted = ByHand(loud).run(prompt(), 30, GREEDY)
        (found,) = run(ended, GenerationRequest(prompt(), 30, GREEDY))
        assert torch.equal(found, wanted)


def test_slow_turns_are_slowed_and_fast_ones_kept() -> None:
    cos, sin = rotary_table(2, 128)
    rates = torch.atan2(sin[1], cos[1]).double()
    plain = 500_000.0 ** -(torch.arange(0, 128, 2).double() / 128)
    assert torch.allclose(rates[:20], plain[:20], rtol=1e-5)
    assert torch.allclose(rates[-10:], plain[-10:] / 32, rtol=1e-4)


def test_what_is_not_heartmula_is_named() -> None:
    with pytest.raises(ModelBroken, match="decoder_flavor"):
        LanguageShape.of({"backbone_flavor": "llama-3B"})
    config = {"backbone_flavor": "llama-9000B", "decoder_flavor": "llama-300M", "text_vocab_size": 1,
              "audio_vocab_size": 1, "audio_num_codebooks": 8}  # fmt: skip
    with pytest.raises(ModelBroken, match="llama-9000B"):
        LanguageShape.of(config)


def test_going_on_from_codes_is_refused(model: HeartmulaLanguage) -> None:
    with Engine(model, 1) as engine, pytest.raises(InvalidRequest, match="go on"):
        engine.submit(GenerationRequest(prompt(), 4, GREEDY, start=torch.zeros(8, 3, dtype=torch.int64))).result(WAIT_S)
