"""heartlib's loop over frames, timed: run by `heartmula.py` with the Python that has heartlib's needs.

Prints seconds a frame. Its own code, as it is; random weights; a warm run, the prompt and the first frame are left out.
"""

from __future__ import annotations

import json
import sys
import time
import types
from importlib import import_module
from typing import Any


def main(asked: dict[str, Any]) -> None:
    sys.path.insert(0, asked["source"])
    import torch  # noqa: PLC0415
    import transformers  # noqa: F401, PLC0415  (looks for torchaudio before there is the one below)

    sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))  # heartlib only saves files with it
    theirs: Any = import_module("heartlib.heartmula.modeling_heartmula")
    llama3_2: Any = import_module("torchtune.models.llama3_2")

    torch.set_num_threads(asked["threads"])
    device, dtype = torch.device(asked["device"]), getattr(torch, asked["dtype"])
    for part in ("backbone", "decoder"):
        size = asked[part]

        def build(size: dict[str, int] = size) -> Any:
            return llama3_2.llama3_2(
                vocab_size=8, num_layers=size["layers"], num_heads=size["heads"], num_kv_heads=size["key_heads"],
                embed_dim=size["width"], max_seq_len=size["positions"], intermediate_dim=size["feed_width"],
                attn_dropout=0.0, norm_eps=1e-5, rope_base=500_000, scale_factor=32,
            )  # fmt: skip

        theirs.FLAVORS[part] = build
    config = theirs.HeartMuLaConfig(
        backbone_flavor="backbone", decoder_flavor="decoder", text_vocab_size=asked["words"]
    )
    with torch.device(device):
        model = theirs.HeartMuLa(config)
    model = model.to(dtype).eval()
    with torch.inference_mode():
        for name, tensor in model.named_parameters():
            tensor.fill_(1) if name.endswith("scale") else tensor.normal_(0, 0.02)
        model.setup_caches(2)
        for frames in (3, asked["frames"]):
            took = generate(model, frames, asked["prompt"], device, dtype)
    print(took)


def generate(model: Any, frames: int, prompt: int, device: Any, dtype: Any) -> float:
    """As `HeartMuLaGenPipeline._forward` does it: guidance 1.5, top-k 50 → seconds a frame after the first."""
    import torch  # noqa: PLC0415

    model.reset_caches()
    tokens = torch.zeros((2, prompt, 9), dtype=torch.long, device=device)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    mask[..., -1] = True
    positions = torch.arange(prompt, device=device).repeat(2, 1)
    more: dict[str, Any] = {
        "continuous_segments": torch.zeros((2, 512), device=device, dtype=dtype), "starts": [prompt // 2] * 2,
    }  # fmt: skip
    with torch.autocast(device_type=device.type, dtype=dtype, enabled=dtype != torch.float32):
        began = 0.0
        for n in range(frames + 1):
            drawn = model.generate_frame(
                tokens=tokens, tokens_mask=mask, input_pos=positions, temperature=1.0, topk=50, cfg_scale=1.5, **more
            )
            if torch.any(drawn[0:1] >= 8193):
                pass  # the same look at the device as theirs; the song goes on
            if n == 0:
                began = time.perf_counter()
            tokens = torch.cat([drawn.long(), torch.zeros_like(drawn[:, :1], dtype=torch.long)], dim=1)[:, None]
            mask = torch.ones_like(tokens, dtype=torch.bool)
            mask[..., -1] = False
            positions = torch.full((2, 1), prompt + n, device=device)
            more = {}
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / frames


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
