"""What HeartMuLa takes, as its card's memory function predicts it and as the system measured it (Linux).

A checkpoint of reduced widths and random weights is written in the published layout; for each length a service process
of its own loads it and makes one song. Measured is that process's resident memory once it has loaded, and the largest
while it works (VmRSS, VmHWM). While it loads it is larger: pages of the mapped files count, which the system takes back
when it needs them.

    python bench/heartmula.py --memory [--lengths 10,30,60,120,240] [--json]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from report import Row
from tonewheel.models.heartmula.card import CARDS, RELEASES
from tonewheel.models.heartmula.flavors import TransformerShape
from tonewheel.models.heartmula.flow import FlowShape
from tonewheel.models.heartmula.language import CODES, LanguageShape
from tonewheel.models.heartmula.memory import memory_bytes
from tonewheel.models.heartmula.request import HeartmulaRequest
from tonewheel.models.heartmula.tensors import Shapes, of_codec, of_language
from tonewheel.models.heartmula.wave import STRIDES, WaveShape
from tonewheel.settings import settings

_MB = 1e6
_CARD = CARDS[-1]  # heartmula-3b
_PATH = "HEARTMULA_MODEL_PATH"
_WORDS = 258
_LANGUAGE = LanguageShape(
    TransformerShape(8, 8, 4, 64, 512, 1024, 8192), TransformerShape(2, 4, 2, 64, 512, 1024, 2048), _WORDS
)
_FLOW = FlowShape(8, CODES, 32, 256, 2, 64, 4, 2)
_WAVE = WaveShape(8)


def rows(lengths: list[float]) -> list[Row]:
    """One a length, megabytes: ours is what was measured, theirs what was predicted."""
    made: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="tonewheel-bench-") as folder:
        os.environ[_PATH] = str(_checkpoint(Path(folder) / "model"))
        settings.cache_clear()
        for seconds in lengths:
            asked = HeartmulaRequest(lyrics="[Verse]\nRain on the roof", tags="piano,calm", duration=seconds, seed=3)
            with _service(Path(folder)) as (client, pid):
                Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
                idle = _status(pid, "VmRSS")
                body = asked.model_dump(include={"lyrics", "tags", "duration", "seed"})
                answer = client.post("/v1/music/generations", json=body)
                if answer.status_code != 200 or abs(answer.json()["duration"] - seconds) > 0.08:
                    raise SystemExit(f"a song of {seconds:g} s was answered {answer.status_code}: {answer.text[:300]}")
                peak = _status(pid, "VmHWM")
            if not made:
                made.append(_row("loaded", idle, memory_bytes(_CARD, None)))
            made.append(_row(f"{seconds:g} s", peak, memory_bytes(_CARD, asked)))
    return made


def _row(name: str, measured: float, predicted: float) -> Row:
    return Row(name, round(measured / _MB, 1), round(predicted / _MB, 1), "MB", round(predicted / measured, 3))


@contextmanager
def _service(folder: Path) -> Iterator[tuple[httpx.Client, int]]:
    """A service of its own that has loaded the model."""
    environment = os.environ | {"HEARTMULA_OUTPUT_DIR": str(folder / "songs"), "TONEWHEEL_DATA_DIR": str(folder)}
    command = [sys.executable, "-m", "tonewheel.serving", _CARD.id, "--json", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            about: dict[str, Any] = json.loads(process.stdout.readline())
            with httpx.Client(base_url=about["url"], timeout=3600) as client:
                while (state := client.get("/health").json()["state"]) != "ready":
                    if state == "failed":
                        raise SystemExit(f"the model did not load: {client.get('/readyz').text[:300]}")
                yield client, process.pid
        finally:
            process.terminate()


def _status(pid: int, name: str) -> int:
    """What the system tells of a process's memory, bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"this system does not tell {name} of a process")


# ── the checkpoint ──────────────────────────────────────────────────────────────────────────────


def _checkpoint(folder: Path) -> Path:
    release = RELEASES[_CARD.id]
    language = {
        "model_type": "heartmula", "backbone_flavor": "b", "decoder_flavor": "d", "text_vocab_size": _WORDS,
        "audio_vocab_size": _LANGUAGE.audio_vocabulary, "audio_num_codebooks": _LANGUAGE.codebooks,
        "flavors": {"b": asdict(_LANGUAGE.backbone), "d": asdict(_LANGUAGE.local)},
    }  # fmt: skip
    codec = {
        "model_type": "heartcodec", "num_quantizers": _FLOW.codebooks, "codebook_size": _FLOW.codes,
        "codebook_dim": _FLOW.code_width, "dim": _FLOW.width, "num_attention_heads": _FLOW.heads,
        "attention_head_dim": _FLOW.head_size, "num_layers": _FLOW.layers, "num_layers_2": _FLOW.layers_2,
        "in_channels": 512 + _FLOW.width, "out_channels": 256, "norm_type": "ada_norm_single", "num_bands": 1,
        "sample_rate": 48_000, "causal": True, "num_samples": 2, "upsample_factors": list(STRIDES),
        "upsample_kernel_sizes": [2 * s for s in STRIDES], "latent_hidden_dim": 128, "default_kernel_size": 7,
        "delay_kernel_size": 5, "res_kernel_size": 7, "init_channel": _WAVE.channels,
    }  # fmt: skip
    _part(folder / release.language, language, of_language(_LANGUAGE))
    _part(folder / release.codec, codec, of_codec(_FLOW, _WAVE))
    ids = {"text_bos_id": 256, "text_eos_id": 257, "audio_eos_id": 8193, "empty_id": 0}
    (folder / "gen_config.json").write_text(json.dumps(ids))
    letters = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _part(folder: Path, config: dict[str, Any], shapes: Shapes) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    draw = torch.Generator().manual_seed(1)

    def tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        if name.endswith(("scale", "norm.weight", "original0")):
            return torch.full(shape, 0.1 if name.endswith("original0") else 1.0)
        return torch.randn(shape, generator=draw) * 0.02

    tensors = {name: tensor(name, shape) for name, shape in shapes.items()}
    for name, table in tensors.items():
        if name == "codebook0_head.weight":
            table[8193:] = 0  # the song is not to end by itself
        if name == "audio_head":
            table[:, :, 8193:] = 0
    save_file(tensors, folder / "model.safetensors")
