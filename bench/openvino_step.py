"""A step of MusicGen's decoder as an OpenVINO model, as fast as it goes there: what our kernels are measured against.

Built by hand from OpenVINO's operations, so that every shortcut ours has is there, too: q, k and v as one product, the
four heads as one, keys and values of the text computed once a request, no cross-attention for the unconditional rows
(the first half of a step's rows is the conditional one). Keys and values are states of the model that the CPU plugin
fuses with the attention and writes in place. Weights are compressed constants: int8 (a scale an output, as NNCF makes
them, or groups of 128) and int4 in groups of 128; activations are quantised dynamically. Around the step runs what runs
around ours: the same sampler, guidance, delay pattern.

    pip install openvino           (of this bench alone, never of Tonewheel; `--target DIR` and PYTHONPATH=DIR do, too)
    python bench/openvino_step.py --check                       its logits beside ours, on a small shape
    python bench/openvino_step.py --search int8,int4            ms a step in each of its settings, real size
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch

from musicgen_models import SAMPLING, SHAPES, TEXT_TOKENS, Forced, our_decoder, random_weights
from report import median
from tonewheel.engine import pattern
from tonewheel.engine.sampler import Need, Sampler
from tonewheel.models.musicgen.decoder import DecoderShape, Weights, positions_table

GROUP = 128
_INNER = "decoder.model.decoder"


@dataclass(frozen=True, slots=True)
class Settings:
    """How OpenVINO runs it. `inference`: its arithmetic (None: its own choice, bfloat16 where the processor has it);
    `activations`: inputs that share a scale when they are quantised (0: they are not); `kept`: keys and values."""

    precision: str
    grouped: bool = True  # int8 only: a scale for 128 inputs instead of one for all; int4 is always so
    inference: str | None = "f32"
    activations: int = 128
    kept: str = "f16"

    def __str__(self) -> str:
        if self.precision == "float32":
            return f"float32, inference {self.inference or 'its own'}, keys {self.kept}"
        groups = "groups of 128" if self.grouped else "a scale an output"
        dynamic = f"activations by {self.activations}" if self.activations else "activations not quantised"
        return f"{self.precision} {groups}, {dynamic}, inference {self.inference or 'its own'}, keys {self.kept}"


def missing() -> str:
    """Why OpenVINO cannot be used; empty where it can."""
    try:
        import openvino  # noqa: F401, PLC0415
    except ImportError as error:
        return f"openvino is not installed ({error})" if error.name == "openvino" else f"openvino: {error}"
    return ""


class OpenVinoDecoder:
    """The compiled step, and the loop around it."""

    def __init__(self, shape: DecoderShape, weights: Weights, settings: Settings, threads: int) -> None:
        import openvino as ov  # noqa: PLC0415

        self.shape, self.settings = shape, settings
        self.version: str = ov.__version__
        config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": str(threads),
            "KV_CACHE_PRECISION": settings.kept,
        }  # fmt: skip
        if settings.precision != "float32":
            config["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = str(settings.activations)
        if settings.inference is not None:
            config["INFERENCE_PRECISION_HINT"] = settings.inference
        self._compiled = ov.Core().compile_model(_Step(shape, weights, settings).model, "CPU", config)
        self._request: Any = None
        self._count = 0
        self._tokens = torch.cat([weights(f"{_INNER}.embed_tokens.{k}.weight") for k in range(shape.codebooks)])
        self._offsets = torch.arange(shape.codebooks) * (shape.vocabulary + 1)
        self._table = positions_table(shape.max_positions, shape.width)
        self._text = [  # what makes keys and values of the text, once a request
            torch.cat([weights(f"{_INNER}.layers.{n}.encoder_attn.{part}_proj.weight") for part in "kv"])
            for n in range(shape.layers)
        ]
        self._projection = weights("enc_to_dec_proj.weight"), weights("enc_to_dec_proj.bias")
        self._held: list[Any] = []  # tensors that OpenVINO reads where they lie

    def begin(self, text: torch.Tensor, count: int) -> None:
        """Start `count` requests with the same text [n, text width]."""
        if count != self._count:  # keys in 8 bits that were kept for other rows spoil those to come (OpenVINO 2026.4)
            self._request, self._count = self._compiled.create_infer_request(), count
        self._request.reset_state()
        heads, size = self.shape.heads, self.shape.head_size
        states = torch.nn.functional.linear(text, *self._projection)
        self._held = [np.arange(2 * count, dtype=np.int32)]
        self._request.set_tensor("rows", _tensor(self._held[0]))
        for n, joined in enumerate(self._text):
            both = (states @ joined.T).view(-1, 2, heads, size).permute(1, 2, 0, 3)
            for name, made in zip(("text_keys", "text_values"), both, strict=True):
                self._held.append(made[None].expand(count, -1, -1, -1).contiguous().numpy())
                self._request.set_tensor(f"{name}.{n}", _tensor(self._held[-1]))

    def step(self, tokens: torch.Tensor, position: int) -> torch.Tensor:
        """Codes before it [B, K], the same for both rows of a request → logits [2 · B, K, V], conditional rows first.
        Not copied: they hold until the next step."""
        x = torch.nn.functional.embedding(tokens + self._offsets, self._tokens).sum(1) + self._table[position]
        x = x.repeat(2, 1)[:, None].contiguous()
        self._request.set_tensor("x", _tensor(x.numpy()))
        self._request.infer()
        made = torch.from_numpy(self._request.get_tensor("logits").data)
        return made.view(len(x), self.shape.codebooks, self.shape.vocabulary)

    @torch.inference_mode()
    def run(self, text: torch.Tensor, count: int, frames: int) -> float:
        """Seconds for `count` requests of `frames` frames at once."""
        began = time.perf_counter()
        sampler = Sampler(count, torch.device("cpu"))
        for n in range(count):
            sampler.set(n, SAMPLING)
        need = Need.of([SAMPLING])
        slots, codebooks = torch.arange(count), torch.arange(self.shape.codebooks)
        plan = pattern.laid_out(None, frames, self.shape.delays, self.shape.vocabulary)
        tokens = torch.full((count, self.shape.codebooks), self.shape.vocabulary)
        steps = torch.zeros(count, dtype=torch.int64)
        self.begin(text, count)
        for step in range(plan.shape[1]):
            logits = self.step(tokens, step)
            guided = sampler.guide(logits[:count], logits[count:], slots)
            if not bool(guided.amax(-1).isfinite().all()):
                raise SystemExit(f"OpenVINO computed numbers that are not finite ({self.settings})")
            drawn = sampler.draw(guided, slots, steps, codebooks, need)
            known = plan[:, step]
            tokens = torch.where(known >= 0, known, drawn)
            steps = steps + 1
        return time.perf_counter() - began


def _tensor(array: Any) -> Any:
    import openvino as ov  # noqa: PLC0415

    return ov.Tensor(array, shared_memory=True)


class _Step:
    """Builds the model: x [rows, 1, width] → logits [rows, heads · vocabulary]."""

    def __init__(self, shape: DecoderShape, weights: Weights, settings: Settings) -> None:
        import openvino as ov  # noqa: PLC0415
        from openvino import op, opset13  # noqa: PLC0415

        self.ov, self.op, self.ops = ov, op, opset13
        self.shape, self.weights, self.settings = shape, weights, settings
        self.sinks: list[Any] = []
        self.inputs: list[Any] = []
        x = self._input([-1, 1, shape.width], "x")
        self.rows = self._input([-1], "rows", ov.Type.i32)
        half = opset13.divide(opset13.shape_of(x), self._whole([2, 1, 1]))
        self.half = opset13.gather(half, self._whole([0]), self._whole(0))
        hidden = x
        for n in range(shape.layers):
            hidden = self._layer(n, hidden)
        last = self._norm(hidden, f"{_INNER}.layer_norm")
        heads = torch.cat([weights(f"decoder.lm_heads.{k}.weight") for k in range(shape.codebooks)])
        result = opset13.result(self._linear(last, heads))
        result.get_output_tensor(0).set_names({"logits"})
        self.model: Any = ov.Model([result], self.sinks, self.inputs, "step")

    def _layer(self, n: int, x: Any) -> Any:
        name, ops = f"{_INNER}.layers.{n}", self.ops

        def weight(*parts: str) -> torch.Tensor:
            return torch.cat([self.weights(f"{name}.{part}.weight") for part in parts])

        joined = self._linear(
            self._norm(x, f"{name}.self_attn_layer_norm"),
            weight("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        )
        query, key, value = (self._heads(part) for part in ops.split(joined, self._whole(2), 3).outputs())
        seen = ops.scaled_dot_product_attention(query, self._kept(f"k{n}", key), self._kept(f"v{n}", value))
        x = ops.add(x, self._linear(self._joined(seen), weight("self_attn.out_proj")))
        # Those that see the text, and those that do not.
        some = ops.slice(x, self._whole([0]), self.half, self._whole([1]), self._whole([0]))
        others = ops.slice(x, self.half, self._whole([2**31 - 1]), self._whole([1]), self._whole([0]))
        size = [-1, self.shape.heads, -1, self.shape.head_size]
        keys, values = self._input(size, f"text_keys.{n}"), self._input(size, f"text_values.{n}")
        asked = self._linear(self._norm(some, f"{name}.encoder_attn_layer_norm"), weight("encoder_attn.q_proj"))
        found = ops.scaled_dot_product_attention(self._heads(asked), keys, values)
        some = ops.add(some, self._linear(self._joined(found), weight("encoder_attn.out_proj")))
        x = ops.concat([some, others], 0)
        fed = self._linear(self._norm(x, f"{name}.final_layer_norm"), weight("fc1"))
        fed = ops.gelu(fed, "erf") if self.shape.activation == "gelu" else ops.relu(fed)
        return ops.add(x, self._linear(fed, weight("fc2")))

    # ── its parts ──

    def _input(self, shape: list[int], name: str, kind: Any = None) -> Any:
        made = self.ops.parameter(self.ov.PartialShape(shape), kind or self.ov.Type.f32, name)
        made.output(0).get_tensor().set_names({name})
        self.inputs.append(made)
        return made

    def _whole(self, values: Any) -> Any:
        return self.ops.constant(np.array(values, dtype=np.int64))

    def _norm(self, x: Any, name: str) -> Any:
        scaled = self.ops.mvn(x, self._whole([2]), True, 1e-5, "inside_sqrt")
        scaled = self.ops.multiply(scaled, self.ops.constant(self.weights(f"{name}.weight").numpy()[None, None]))
        return self.ops.add(scaled, self.ops.constant(self.weights(f"{name}.bias").numpy()[None, None]))

    def _heads(self, x: Any) -> Any:
        """[rows, n, width] → [rows, heads, n, size]"""
        split = self.ops.reshape(x, self._whole([0, 0, self.shape.heads, self.shape.head_size]), True)
        return self.ops.transpose(split, self._whole([0, 2, 1, 3]))

    def _joined(self, x: Any) -> Any:
        return self.ops.reshape(
            self.ops.transpose(x, self._whole([0, 2, 1, 3])), self._whole([0, 0, self.shape.width]), True
        )

    def _kept(self, name: str, fresh: Any) -> Any:
        """Keys or values so far and these, which are kept: the form that the CPU plugin makes one operation of."""
        ops, ov = self.ops, self.ov
        size = ov.PartialShape([-1, self.shape.heads, -1, self.shape.head_size])
        made = ov.op.util.VariableInfo()
        made.data_shape, made.data_type, made.variable_id = size, ov.Type.f32, name
        variable = ov.op.util.Variable(made)
        rows = ops.gather(ops.shape_of(self.rows), self._whole([0]), self._whole(0))
        none = ops.concat(
            [rows, self._whole([self.shape.heads]), self._whole([0]), self._whole([self.shape.head_size])], 0
        )
        past = ov.op.read_value(ops.broadcast(ops.constant(np.float32(0)), none), variable)
        past = ops.gather(past, self.rows, self._whole(0))
        joined = ops.concat([past, fresh], 2)
        self.sinks.append(ov.op.assign(joined, variable))
        return joined

    def _linear(self, x: Any, weight: torch.Tensor) -> Any:
        return self.ops.matmul(x, self._constant(weight), False, True)

    def _constant(self, weight: torch.Tensor) -> Any:
        """A weight [outputs, inputs] in its precision, in the form that OpenVINO keeps compressed."""
        ops, ov, precision = self.ops, self.ov, self.settings.precision
        outputs, inputs = weight.shape
        if precision == "float32":
            return ops.constant(np.ascontiguousarray(weight.numpy()))
        grouped = (self.settings.grouped or precision == "int4") and inputs % GROUP == 0
        parts = weight.view(outputs, -1, GROUP) if grouped else weight
        most = 127 if precision == "int8" else 7
        scale = (parts.abs().amax(-1, keepdim=True) / most).clamp(min=1e-12)
        values = (parts / scale).round().clamp(-most - 1, most).to(torch.int8).numpy()
        if precision == "int8":
            held = self.op.Constant(values, shared_memory=False)
        else:
            packed = (values[..., 0::2] & 15 | values[..., 1::2] << 4).astype(np.uint8)
            held = self.op.Constant(ov.Tensor(packed, list(values.shape), ov.Type.i4), shared_memory=False)
        scaled = ops.multiply(ops.convert(held, "f16"), ops.constant(scale.numpy().astype(np.float16)))
        if grouped:
            scaled = ops.reshape(scaled, self._whole([outputs, inputs]), False)
        return ops.convert(scaled, "f32")


# ── alone ───────────────────────────────────────────────────────────────────────────────────────

_BOUNDS = {"float32": 0.05, "int8": 0.1, "int4": 0.3}  # of a small shape; another model would be at 1 or above


@torch.inference_mode()
def difference(settings: Settings, threads: int = 1, requests: int = 2, steps: int = 10) -> float:
    """How far its logits are from ours in float32, relative to their size: a small shape, teacher-forced. Raises
    SystemExit where they are of another model."""
    shape = DecoderShape(2, 256, 4, 256, 4, 1, "gelu", 32, 2048)
    weights = random_weights(shape)
    theirs = OpenVinoDecoder(shape, weights, settings, threads)
    text = torch.randn(TEXT_TOKENS, shape.text_width, generator=torch.Generator().manual_seed(1))
    ours = Forced(our_decoder(shape, torch.device("cpu"), torch.float32), [text] * requests, steps)
    dice = torch.Generator().manual_seed(2)
    theirs.begin(text, requests)
    wrong = size = 0.0
    for step in range(steps):
        tokens = torch.randint(0, shape.vocabulary + 1, (requests, shape.codebooks), generator=dice)
        right = ours.step(tokens).reshape(2 * requests, shape.codebooks, -1)
        wrong += float((theirs.step(tokens, step) - right).square().sum())
        size += float(right.square().sum())
    found = math.sqrt(wrong / size)
    if not found < _BOUNDS[settings.precision]:
        raise SystemExit(f"OpenVINO's step is not the same model: logits differ by {found:.2g} ({settings})")
    return found


def all_settings(precision: str) -> list[Settings]:
    """Those among which OpenVINO's best is looked for."""
    inference, kept = ("f32", None), ("f16", "u8")
    if precision == "float32":
        return [Settings(precision, inference=i, kept=k) for i, k in product(inference, kept)]
    groups = (False, True) if precision == "int8" else (True,)
    return [
        Settings(precision, grouped=g, inference=i, activations=a, kept=k)
        for g, i, a, k in product(groups, inference, (0, 32, 128), kept)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--search", metavar="PRECISIONS")
    parser.add_argument("--size", choices=SHAPES, default="small")
    parser.add_argument("--requests", default="1,4")
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    if why := missing():
        raise SystemExit(f"{why}: pip install openvino")
    torch.set_num_threads(args.threads)
    if args.check:
        for precision in ("float32", "int8", "int4"):
            for settings in all_settings(precision):
                print(f"{difference(settings):8.2g}  {settings}", flush=True)
    shape, counts = SHAPES[args.size], [int(n) for n in args.requests.split(",")]
    text = torch.randn(TEXT_TOKENS, shape.text_width)
    for precision in args.search.split(",") if args.search else ():
        for settings in all_settings(precision):
            decoder = OpenVinoDecoder(shape, random_weights(shape), settings, args.threads)
            decoder.run(text, counts[0], 2)
            for count in counts:
                took = median([decoder.run(text, count, args.frames) for _ in range(args.repeat)])
                print(f"{1e3 * took / (args.frames + 3):9.1f} ms  {count:2} requests  {settings}", flush=True)
            del decoder


if __name__ == "__main__":
    main()
