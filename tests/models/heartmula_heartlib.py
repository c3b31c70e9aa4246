"""What heartlib makes of a checkpoint: run by `test_heartmula_heartlib.py` with the Python that has heartlib.

    python heartmula_heartlib.py HEARTLIB_SRC CHECKPOINT OUT.npz

Writes the greedy codes of a song (`codes`), and for codes given by a seed (`given`) the samples of the codec with the
noise it drew (`noise`, `samples`).
"""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import torch

FRAMES, SEED = 12, 1234
LYRICS, TAGS = "[Verse]\nRain on the roof", "folk,warm"


def main(source: str, checkpoint: str, out: str) -> None:
    sys.path.insert(0, source)
    import transformers  # noqa: F401  (looks for torchaudio before there is the one below)

    sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))  # heartlib only saves files with it
    register_sizes(checkpoint)
    from heartlib import HeartMuLaGenPipeline

    pipe = HeartMuLaGenPipeline.from_pretrained(
        checkpoint, device=torch.device("cpu"), dtype=torch.float32, version="3B"
    )
    inputs = pipe.preprocess({"lyrics": LYRICS, "tags": TAGS}, cfg_scale=1.5)
    # topk 1 = greedy; the first frame and so many more
    made = pipe._forward(inputs, max_audio_length_ms=80 * (FRAMES - 1), temperature=1.0, topk=1, cfg_scale=1.5)
    given = torch.randint(0, 8192, (8, 373), generator=torch.Generator().manual_seed(SEED))
    drawn: list[torch.Tensor] = []
    codec = pipe.codec
    inner = codec.flow_matching.solve_euler

    def watched(x: torch.Tensor, *rest: Any) -> torch.Tensor:
        drawn.append(x.clone())
        return inner(x, *rest)

    codec.flow_matching.solve_euler = watched
    torch.manual_seed(SEED)
    samples = codec.detokenize(given, disable_progress=True)
    np.savez(
        out, codes=made["frames"].numpy(), given=given.numpy(), samples=samples.numpy(),
        noise=torch.cat(drawn).numpy(),
    )  # fmt: skip


def register_sizes(checkpoint: str) -> None:
    """heartlib knows sizes by name only: those of a tiny checkpoint are in its config.json."""
    import json
    from pathlib import Path

    from heartlib.heartmula import modeling_heartmula
    from torchtune.models import llama3_2

    config = json.loads((Path(checkpoint) / "HeartMuLa-oss-3B" / "config.json").read_text("utf-8"))
    for name, size in config["flavors"].items():

        def build(size: dict[str, int] = size) -> Any:
            return llama3_2.llama3_2(
                vocab_size=8, num_layers=size["layers"], num_heads=size["heads"], num_kv_heads=size["key_heads"],
                embed_dim=size["width"], max_seq_len=size["positions"], intermediate_dim=size["feed_width"],
                attn_dropout=0.0, norm_eps=1e-5, rope_base=500_000, scale_factor=32,
            )  # fmt: skip

        modeling_heartmula.FLAVORS[name] = build


if __name__ == "__main__":
    main(*sys.argv[1:])
