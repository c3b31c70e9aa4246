"""EnCodec: codes to samples, as they come, and samples to codes (Défossez et al. 2022, "High Fidelity Neural Audio
Compression"; the 32 kHz model of MusicGen: 50 frames a second, 640 samples a frame).

Decoding by chunks gives what decoding at once gives, within float32 rounding (`Decoding` says how). A stereo
model's codebooks are interleaved left, right, left, …; each side is decoded alone by the same mono codec.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tonewheel.engine.kernels import Kernels, PlainKernels
from tonewheel.models.musicgen.checkpoint import AUDIO, Checkpoint
from tonewheel.models.musicgen.products import Room
from tonewheel.models.musicgen.seanet import Layers
from tonewheel.models.musicgen.windows import SAMPLES_PER_FRAME
from tonewheel.models.tensor_files import fill


class Codec:
    """EnCodec in float32 (it takes 0.2 GB, and its rounding would be heard). Thread-safe."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device, kernels: Kernels | None = None) -> None:
        """`kernels`: those of the decoder. Raises ModelBroken."""
        self.channels = checkpoint.channels
        self.codebooks = int(checkpoint.decoder.get("num_codebooks", 4))
        self.device = device
        self._model = encodec(checkpoint).to(device)
        layers = list(self._model.decoder.layers)
        kernels = kernels or PlainKernels("float32")
        room = Room(device)
        # First a convolution and the LSTM, frame by frame; from there on everything is local.
        self.first = Layers(layers[:1], kernels, room)
        self.lstm = layers[1].lstm
        self.rest = Layers(layers[2:], kernels, room)
        self.lock = threading.Lock()  # one chunk at a time: the room is one, and so are the cores
        self.first_context = _context([layers[0]], 1)
        self.rest_context = _context(layers[2:], SAMPLES_PER_FRAME)
        del self._model.decoder  # its weights are there in another order

    @property
    def lookahead(self) -> int:
        """Frames that must be there before the samples of one can be told."""
        return self.first_context[1] + self.rest_context[1]

    def begin(self, skip: int = 0) -> Decoding:
        """Start decoding a stream of codes; the samples of its first `skip` frames are not wanted."""
        return Decoding(self, skip)

    def decode(self, codes: Tensor) -> NDArray[np.float32]:
        """Codes [K, frames] → samples [640 · frames, channels]."""
        decoding = self.begin()
        return np.concatenate([decoding.push(codes), decoding.finish()])

    @torch.inference_mode()
    def encode(self, samples: NDArray[np.float32]) -> Tensor:
        """Samples [n, channels] at 32 kHz → codes [K, ceil(n / 640)]."""
        sides = torch.from_numpy(np.ascontiguousarray(samples.T)).to(self.device)[:, None]
        bandwidth = max(self._model.config.target_bandwidths)
        codes: Tensor = self._model.encode(sides, bandwidth=bandwidth).audio_codes[0]  # [channels, K / channels, n]
        return codes[:, : self.codebooks // self.channels].transpose(0, 1).reshape(self.codebooks, -1)

    def embedded(self, codes: Tensor) -> Tensor:
        """Codes [K, n] → [channels, n, hidden]."""
        sides = codes.to(self.device).reshape(-1, self.channels, codes.shape[1])  # [K / channels, channels, n]
        embedded: Tensor = self._model.quantizer.decode(sides)
        return embedded.transpose(1, 2).contiguous()


class Decoding:
    """The state of one stream: codes in, samples out as soon as they can no longer change.

    The LSTM runs over each frame once and its state is kept. The convolutions before and after it see a few frames
    to either side (MusicGen's are not causal): a chunk is computed with `context` frames more on both sides, whose
    samples are left out. At the two real ends the layers pad by themselves, as they do for the whole.
    """

    def __init__(self, codec: Codec, skip: int = 0) -> None:
        self._codec = codec
        self._all = torch.empty((codec.codebooks, 0), dtype=torch.int64)
        self._state: tuple[Tensor, Tensor] | None = None
        self._hidden: Tensor | None = None  # [frames, channels, C] after the LSTM, from `_hidden_from` on
        self._hidden_from = 0
        self._heard = 0  # frames the LSTM has seen
        self._told = skip  # frames whose samples are out, or not wanted

    def push(self, codes: Tensor) -> NDArray[np.float32]:
        """Further codes [K, n] → the samples [m, channels] that are certain now."""
        self._all = torch.cat([self._all, codes.to("cpu", torch.int64)], dim=1)
        return self._advance(final=False)

    def finish(self) -> NDArray[np.float32]:
        """The rest; nothing can be pushed after it."""
        return self._advance(final=True)

    def _advance(self, final: bool) -> NDArray[np.float32]:
        with self._codec.lock, torch.inference_mode():
            return self._advanced(final)

    def _advanced(self, final: bool) -> NDArray[np.float32]:
        codec, there = self._codec, self._all.shape[1]
        heard = there if final else max(self._heard, there - codec.first_context[1])
        if heard > self._heard:
            self._hear(heard)
        told = heard if final else max(self._told, heard - codec.rest_context[1])
        if told == self._told or self._hidden is None:
            return np.zeros((0, codec.channels), np.float32)
        left, right = codec.rest_context
        begin, end = max(0, self._told - left), min(heard, told + right)
        some = slice(begin - self._hidden_from, end - self._hidden_from)
        first = (self._told - begin) * SAMPLES_PER_FRAME
        last = first + (told - self._told) * SAMPLES_PER_FRAME
        sides = range(codec.channels)
        samples = torch.cat([codec.rest(self._hidden[some, side])[first:last].clone() for side in sides], dim=1)
        self._told = told
        keep = max(0, told - left)
        self._hidden = self._hidden[keep - self._hidden_from :].clone()
        self._hidden_from = keep
        return np.ascontiguousarray(samples.cpu().numpy(), dtype=np.float32)

    def _hear(self, until: int) -> None:
        """The first convolution and the LSTM, up to frame `until`."""
        codec, there = self._codec, self._all.shape[1]
        left, right = codec.first_context
        begin, end = max(0, self._heard - left), min(there, until + right)
        new = slice(self._heard - begin, until - begin)
        steps = torch.stack([codec.first(side)[new].clone() for side in codec.embedded(self._all[:, begin:end])], dim=1)
        out, self._state = codec.lstm(steps, self._state)
        hidden = out + steps
        self._hidden = hidden if self._hidden is None else torch.cat([self._hidden, hidden])
        self._heard = until


def encodec(checkpoint: Checkpoint) -> Any:
    """transformers' model, its weights folded. Raises ModelBroken."""
    from transformers import EncodecConfig, EncodecModel  # noqa: PLC0415  (seconds)

    model = EncodecModel(EncodecConfig.from_dict(dict(checkpoint.audio)))
    found = {_new_name(n.removeprefix(AUDIO)): t for n, t in checkpoint.tensors(AUDIO, dtype=torch.float32)}
    fill(model, found, "audio codec")
    for layer in model.modules():  # the weights themselves, instead of length and direction at every call
        if nn.utils.parametrize.is_parametrized(layer):
            nn.utils.parametrize.remove_parametrizations(layer, "weight")
    return model.requires_grad_(False).train(False)


def _new_name(name: str) -> str:
    """Weight norm's tensors as torch names them now: length, direction."""
    return name.replace("weight_g", "parametrizations.weight.original0").replace(
        "weight_v", "parametrizations.weight.original1"
    )


def _context(layers: Iterable[Any], samples: int) -> tuple[int, int]:
    """Frames to the left and right that the `samples` samples of one frame depend on, through `layers`."""
    first, last = 0, samples - 1  # what is needed of a layer's output, then of its input
    for layer in reversed(list(_convolutions(layers))):
        conv: Any = layer.conv
        size, stride = (conv.kernel_size[0] - 1) * conv.dilation[0] + 1, conv.stride[0]
        total = size - stride
        if isinstance(conv, nn.ConvTranspose1d):
            # Input i spreads over outputs stride·i … stride·i + size - 1, of which the first `left` are cut off.
            right = int(np.ceil(total * layer.trim_right_ratio)) if layer.causal else total // 2
            left = total - right
            first, last = -(-(first + left - size + 1) // stride), (last + left) // stride
        else:
            left = total if layer.causal else total - total // 2
            first, last = first - left, last + (total - left)
    return -first, last


def _convolutions(layers: Iterable[Any]) -> Iterable[Any]:
    """The convolutions in the order they are applied; those of a block's shortcut see less than the block."""
    for layer in layers:
        if hasattr(layer, "block"):
            yield from _convolutions(layer.block)
        elif hasattr(layer, "conv"):
            yield layer
