"""What weights in 8 and 4 bits cost: logits beside those of plain torch in float32, teacher-forced, random weights.

Three models of real size: musicgen-small's decoder on the engine, T5-base and GPT-2 by transformers with each linear
layer made anew through `kernels.linear`. Tokens are drawn from float32's own logits (T5, GPT-2: at random) and given to
all. T5 and GPT-2 have the weights that transformers begins with. MusicGen's are normal with unit gain, those back into
the residual stream by 1 / √(2 · layers) as in GPT-2 (Radford et al. 2019, §2.3).

Random weights make flat distributions, whose divergence is next to nothing whatever the error. MusicGen's heads are
therefore scaled, by bisection on float32's logits, until a distribution's mean entropy is `--entropy` nats. 3.5 is what
a MusicGen is left with: its cross-entropy when trained, 3.4 to 3.7 nats (a perplexity of 33 out of 2,048;
github.com/facebookresearch/audiocraft/issues/318). T5 and GPT-2 are shown as they are and scaled likewise; scaled, a
random head over 32,000 or 50,000 words is a harder case than any of MusicGen's, and the bound does not count it.

Printed: the error of logits relative to their size (after their mean, which softmax does not see, is taken off), the
Kullback-Leibler divergence from float32's distribution in nats, mean and largest over all positions, and how often the
likeliest token is the same. For MusicGen also of the guided logits (scale 3), which tokens are drawn from: guidance
multiplies errors where the two branches' do not cancel.

Exits with 1 when int8's mean divergence is not under 1e-3: MusicGen's two branches, T5 and GPT-2 as they are.

    python bench/precision.py [--quick] [--json] [--precision int8,int4] [--entropy 3.5]
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from musicgen_models import SHAPES, TEXT_TOKENS, Forced, size_of
from report import Column, Growing, arguments
from tonewheel.engine.kernels import Kernels, Linear, PlainKernels, best_kernels
from tonewheel.engine.kernels.choice import native_or_why
from tonewheel.models.musicgen.decoder import DecoderShape, MusicgenDecoder, Weights

COLUMNS = [
    Column("error", "error", 5), Column("KL mean", "kl_mean", 6), Column("KL max", "kl_max", 5),
    Column("top-1", "top_1", 4), Column("entropy", "entropy", 2), Column("positions", "positions", 0),
]  # fmt: skip
BOUND = 1e-3  # of int8's mean divergence


def more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--precision", default="int8,int4", help="comma-separated; float32 shows the kernels' rounding")
    parser.add_argument("--entropy", type=float, default=3.5, help="mean nats of float32's distributions")
    parser.add_argument("--only", default="musicgen,t5,gpt2")


@dataclass(frozen=True, slots=True)
class Sums:
    """Of some positions' logits beside float32's."""

    wrong: float
    size: float
    divergences: torch.Tensor  # [positions]
    same: float
    entropy: float

    @classmethod
    def of(cls, logits: torch.Tensor, right: torch.Tensor) -> Sums:
        """Both [..., V]."""
        logits, right = (x.double() - x.double().mean(-1, keepdim=True) for x in (logits, right))
        mine, true = logits.log_softmax(-1), right.log_softmax(-1)
        divergences = (true.exp() * (true - mine)).sum(-1).flatten()
        same = (logits.argmax(-1) == right.argmax(-1)).double().sum()
        entropy = -(true.exp() * true).sum()
        return cls(
            float((logits - right).square().sum()),
            float(right.square().sum()),
            divergences,
            float(same),
            float(entropy),
        )


def joined(parts: list[Sums]) -> dict[str, float]:
    divergences = torch.cat([p.divergences for p in parts])
    count = len(divergences)
    return {
        "error": math.sqrt(sum(p.wrong for p in parts) / sum(p.size for p in parts)),
        "kl_mean": float(divergences.mean()), "kl_max": float(divergences.max()),
        "top_1": sum(p.same for p in parts) / count, "entropy": sum(p.entropy for p in parts) / count,
        "positions": count,
    }  # fmt: skip


def sharpness(logits: torch.Tensor, entropy: float) -> float:
    """The factor by which logits [..., V] have this mean entropy, by bisection."""
    low, high = 1e-3, 1e3
    for _ in range(50):
        middle = math.sqrt(low * high)
        scaled = (logits.double() * middle).log_softmax(-1)
        found = float(-(scaled.exp() * scaled).sum(-1).mean())
        low, high = (middle, high) if found > entropy else (low, middle)
    return math.sqrt(low * high)


# ── MusicGen ────────────────────────────────────────────────────────────────────────────────────


def unit_gain(shape: DecoderShape, sharp: float) -> Weights:
    """Weights that keep the size of what flows through them; the same for the same name."""
    back = 1 / math.sqrt(2 * shape.layers)

    def weights(name: str) -> torch.Tensor:
        size = size_of(shape, name)
        dice = torch.Generator().manual_seed(sum(name.encode()) * 7919 % 2**31)
        noise = torch.randn(size, generator=dice)
        if "norm" in name:
            return noise * 0.1 + (1.0 if name.endswith("weight") else 0.0)
        if name.endswith("bias"):
            return noise * 0.1
        if "embed_tokens" in name:
            return noise * 0.5
        gain = sharp if "lm_heads" in name else back if name.endswith(("out_proj.weight", "fc2.weight")) else 1.0
        return noise * gain / math.sqrt(size[1])

    return weights


def musicgen(precisions: list[str], quick: bool, entropy: float) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Two requests with texts of their own; every step's rows, conditional and unconditional."""
    shape = replace(SHAPES["small"], layers=6) if quick else SHAPES["small"]
    steps, requests = (8, 2) if quick else (48, 2)
    dice = torch.Generator().manual_seed(1)
    texts = [torch.randn(TEXT_TOKENS, shape.text_width, generator=dice) for _ in range(requests)]

    def forced(kernels: Kernels, sharp: float) -> Forced:
        cpu = torch.device("cpu")
        decoder = MusicgenDecoder(shape, unit_gain(shape, sharp), device=cpu, dtype=torch.float32, kernels=kernels)
        return Forced(decoder, texts, steps)

    def taught(model: Forced, known: list[torch.Tensor] | None) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Logits of every step, and the tokens; drawn here where they are not known."""
        drawn, logits = [torch.full((requests, shape.codebooks), shape.vocabulary)], []
        for step in range(steps):
            logits.append(model.step(known[step] if known else drawn[-1]).clone())
            if not known:
                chances = logits[-1][0].softmax(-1)
                drawn.append(torch.multinomial(chances.flatten(0, 1), 1, generator=dice).view(requests, -1))
        return logits, known or drawn

    flat, _ = taught(forced(PlainKernels(), 1.0), None)
    sharp = sharpness(torch.stack(flat), entropy)
    right, tokens = taught(forced(PlainKernels(), sharp), None)
    for precision in precisions:
        made, _ = taught(forced(native(precision), sharp), tokens)
        name = f"musicgen-small's decoder, {shape.layers} layers"
        yield name, precision, joined([Sums.of(a, b) for a, b in zip(made, right, strict=True)])
        both = zip(made, right, strict=True)
        yield f"{name}, guided", precision, joined([Sums.of(guided(a), guided(b)) for a, b in both])


def guided(logits: torch.Tensor) -> torch.Tensor:
    return logits[1] + 3.0 * (logits[0] - logits[1])


# ── T5 and GPT-2 ────────────────────────────────────────────────────────────────────────────────


class Through(torch.nn.Module):
    """A linear layer of kernels in the place of transformers' own."""

    def __init__(self, layer: Linear, weight: torch.Tensor) -> None:
        super().__init__()
        self._layer = layer
        self.weight = weight  # T5 looks at its type

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._layer(x)


def through(model: Any, kernels: Kernels) -> int:
    """Make every linear layer of a model anew → how many there were."""
    from transformers.pytorch_utils import Conv1D  # noqa: PLC0415

    count = 0
    for path, module in list(model.named_modules()):
        if not isinstance(module, torch.nn.Linear | Conv1D):
            continue
        weight = module.weight.detach()
        made = weight.t().contiguous() if isinstance(module, Conv1D) else weight
        bias = None if module.bias is None else module.bias.detach()
        layer = kernels.linear(path, lambda made=made: made, bias)  # type: ignore[misc]
        above, _, name = path.rpartition(".")
        setattr(model.get_submodule(above), name, Through(layer, weight))
        count += 1
    return count


def gpt2(quick: bool) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel  # noqa: PLC0415

    words = 4096 if quick else 50257
    config = GPT2Config(
        n_layer=2 if quick else 12, vocab_size=words, bos_token_id=words - 1, eos_token_id=words - 1, pad_token_id=None
    )
    made: Any = GPT2LMHeadModel(config)
    return made.eval()


def t5(quick: bool) -> Any:
    from transformers import T5Config, T5ForConditionalGeneration  # noqa: PLC0415

    layers = 2 if quick else 12
    made: Any = T5ForConditionalGeneration(
        T5Config(
            d_model=768, d_ff=3072, num_layers=layers, num_heads=12, vocab_size=4096 if quick else 32128
        )
    )  # fmt: skip
    return made.eval()


def transformer(
    name: str, make: Callable[[bool], Any], precisions: list[str], quick: bool, entropy: float
) -> Iterator[tuple[str, str, dict[str, float]]]:
    length = 24 if quick else 96

    def model() -> Any:
        torch.manual_seed(0)
        return make(quick)

    plain = model()
    vocabulary = plain.config.vocab_size
    dice = torch.Generator().manual_seed(2)
    tokens, words = (torch.randint(0, vocabulary, (1, length), generator=dice) for _ in range(2))
    asked = {"input_ids": words}
    if name.startswith("T5"):
        asked |= {"decoder_input_ids": tokens}
    right = plain(**asked).logits[0]
    sharp = sharpness(right, entropy)
    for precision in precisions:
        other = model()
        layers = through(other, native(precision))
        made = other(**asked).logits[0]
        yield f"{name}, {layers} linear layers", precision, joined([Sums.of(made, right)])
        # To scale the head is to scale the logits: its weights are quantised alike.
        yield f"{name}, scaled", precision, joined([Sums.of(made * sharp, right * sharp)])


def native(precision: str) -> Kernels:
    for one in ("float32", "int8", "int4"):
        if one == precision:
            return best_kernels(torch.device("cpu"), one)
    raise SystemExit(f"--precision: {precision} is not one of float32, int8, int4")


@torch.inference_mode()
def main() -> None:
    args = arguments(__doc__, more)
    found, why = native_or_why()
    if not found:
        raise SystemExit(f"the native kernels are {why}")
    precisions = args.precision.split(",")
    table = Growing(COLUMNS, args.json, width=44)
    table.head(f"beside float32; {found[0]}, groups of 128")
    programs: dict[str, Callable[[], Iterator[tuple[str, str, dict[str, float]]]]] = {
        "musicgen": lambda: musicgen(precisions, args.quick, args.entropy),
        "t5": lambda: transformer("T5-base", t5, precisions, args.quick, args.entropy),
        "gpt2": lambda: transformer("GPT-2", gpt2, precisions, args.quick, args.entropy),
    }
    too_far = []
    for program in args.only.split(","):
        for name, precision, told in programs[program]():
            table.side(name, f"{precision}  {name}", told)
            if precision == "int8" and not name.endswith(("guided", "scaled")) and not told["kl_mean"] < BOUND:
                too_far.append(f"{name}: {told['kl_mean']:.2g}")
    table.end([f"entropy of {args.entropy:g} nats wanted; int8's mean KL must be under {BOUND:g}"])
    if too_far:
        print(f"int8's mean divergence is not under {BOUND:g}: {'; '.join(too_far)}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
