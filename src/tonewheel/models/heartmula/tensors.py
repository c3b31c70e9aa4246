"""Which tensors the published files hold, by name, and of which shape; from HeartMuLa/heartlib at 3981c52."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tonewheel.models.heartmula.flow import LATENT, TIME_WIDTH
from tonewheel.models.heartmula.wave import DILATIONS, FIRST_KERNEL, KERNEL, SIDE, STRIDES

if TYPE_CHECKING:
    from tonewheel.models.heartmula.flavors import TransformerShape
    from tonewheel.models.heartmula.flow import FlowShape
    from tonewheel.models.heartmula.language import LanguageShape
    from tonewheel.models.heartmula.wave import WaveShape

Shapes = dict[str, tuple[int, ...]]

# In the codec's files and not needed to decode: its encoder, statistics of training.
_NOT_NEEDED = ("scalar_model.encoder.", "encoder.", "flow_matching.vq_embed.project_in.")
_NOT_NEEDED_ENDS = ("._codebook.embed_avg", "._codebook.cluster_size", "._codebook.initted", ".zero_cond_embedding1")


def is_needed(name: str) -> bool:
    """Whether a tensor of the codec's files (without their prefix) is read."""
    return not name.startswith(_NOT_NEEDED) and not name.endswith(_NOT_NEEDED_ENDS)


def of_language(shape: LanguageShape) -> Shapes:
    """The tensors of HeartMuLa-oss-<version>."""
    wide, small, ids = shape.backbone.width, shape.local.width, shape.audio_vocabulary
    return {
        "text_embeddings.weight": (shape.text_vocabulary, wide),
        "audio_embeddings.weight": (shape.codebooks * ids, wide),
        "unconditional_text_embedding.weight": (1, wide),
        "projection.weight": (small, wide),
        "codebook0_head.weight": (ids, wide),
        "audio_head": (shape.codebooks - 1, small, ids),
        "muq_linear.weight": (wide, shape.reference_width),
        "muq_linear.bias": (wide,),
        **_llama("backbone", shape.backbone),
        **_llama("decoder", shape.local),
    }


def _llama(part: str, size: TransformerShape) -> Shapes:
    width, feed = size.width, size.feed_width
    queries, keys = size.heads * size.head_size, size.key_heads * size.head_size
    layer: Shapes = {
        "attn.q_proj.weight": (queries, width), "attn.k_proj.weight": (keys, width),
        "attn.v_proj.weight": (keys, width), "attn.output_proj.weight": (width, queries),
        "mlp.w1.weight": (feed, width), "mlp.w2.weight": (width, feed), "mlp.w3.weight": (feed, width),
        "sa_norm.scale": (width,), "mlp_norm.scale": (width,),
    }  # fmt: skip
    layers = {f"{part}.layers.{n}.{name}": s for n in range(size.layers) for name, s in layer.items()}
    return layers | {f"{part}.norm.scale": (width,)}


def of_codec(flow: FlowShape, wave: WaveShape) -> Shapes:
    """The tensors of HeartCodec-oss that are needed to decode, without the prefix of later files."""
    return _flow(flow) | _wave(wave)


def _flow(shape: FlowShape) -> Shapes:
    at, inputs = "flow_matching.estimator", 2 * LATENT + shape.width
    inner, wide = shape.heads * shape.head_size, 2 * shape.heads * shape.head_size
    tables = {
        f"flow_matching.vq_embed.layers.{n}._codebook.embed": (1, shape.codes, shape.code_width)
        for n in range(shape.codebooks)
    }
    return {
        **tables,
        **_linear("flow_matching.vq_embed.project_out", shape.width, shape.code_width),
        **_linear("flow_matching.cond_feature_emb", shape.width, shape.width),
        **_project(f"{at}.proj_in", inputs, inner),
        **_project(f"{at}.connection_proj", inputs + inner, wide),
        **_project(f"{at}.proj_out", wide, LATENT),
        **_stage(at, "", inner, shape.layers),
        **_stage(at, "_2", wide, shape.layers_2),
    }


def _stage(at: str, suffix: str, width: int, layers: int) -> Shapes:
    hidden = 256 * -(-int(2 * 4 * width / 3) // 256)
    single = f"{at}.adaln_single{suffix}"
    block: Shapes = {
        "scale_shift_table": (6, width), "attn_norm.weight": (width,), "mlp_norm.weight": (width,),
        "mlp.gate.weight": (hidden, width), "mlp.up.weight": (hidden, width), "mlp.down.weight": (width, hidden),
        **{f"attn.{n}_proj.weight": (width, width) for n in "qkvo"},
    }  # fmt: skip
    blocks = {f"{at}.transformer_blocks{suffix}.{n}.{name}": s for n in range(layers) for name, s in block.items()}
    return {
        **blocks,
        f"{at}.scale_shift_table{suffix}": (2, width),
        **_linear(f"{single}.emb.timestep_embedder.linear_1", width, TIME_WIDTH),
        **_linear(f"{single}.emb.timestep_embedder.linear_2", width, width),
        **_linear(f"{single}.linear", 6 * width, width),
    }


def _project(name: str, inputs: int, outputs: int) -> Shapes:
    return {
        f"{name}.ffn_1.weight": (outputs, inputs, 3), f"{name}.ffn_1.bias": (outputs,),
        **_linear(f"{name}.ffn_2", outputs, outputs),
    }  # fmt: skip


def _linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _wave(shape: WaveShape) -> Shapes:
    at, last, width = "scalar_model.decoder", len(STRIDES) + 1, shape.channels << len(STRIDES)
    made = _normed(f"{at}.0", width, SIDE, FIRST_KERNEL, width)
    for n, stride in enumerate(STRIDES, 1):
        made |= _normed(f"{at}.{n}.up_conv.layer", width, width // 2, 2 * stride, width // 2)
        width //= 2
        for m in range(len(DILATIONS)):
            unit = f"{at}.{n}.convs.{m}"
            made |= _normed(f"{unit}.conv1", width, width, KERNEL, width)
            made |= _normed(f"{unit}.conv2", width, width, 1, width)
            made |= {f"{unit}.activation{k}.weight": (1,) for k in (1, 2)}
    return made | {
        f"{at}.{last}.conv.weight": (width, width, KERNEL), f"{at}.{last}.conv.bias": (width,),
        f"{at}.{last}.activation.weight": (1,), **_normed(f"{at}.{last + 1}", 1, width, KERNEL, 1),
    }  # fmt: skip


def _normed(name: str, first: int, second: int, kernel: int, bias: int) -> Shapes:
    """A convolution under weight norm: lengths and directions along the first axis."""
    weight = f"{name}.parametrizations.weight.original"
    return {f"{weight}0": (first, 1, 1), f"{weight}1": (first, second, kernel), f"{name}.bias": (bias,)}
