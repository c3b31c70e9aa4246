"""What HeartTranscriptor takes on its device, by its config.json, or as Whisper medium while it is not here."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tonewheel.models.base import Card
from tonewheel.models.heart_transcriptor.contract import TranscriptionRequest
from tonewheel.settings import weights_dir

BEAMS = 2
NEW_TOKENS = 256  # of a window of 30 s, at most
_MB = 1 << 20
_LIBRARIES = 520 * _MB  # resident memory of torch, transformers and the decoder of files (Python 3.11, Linux)
_PLAIN = (b"RIFF", b"fLaC", b"FORM")  # files that hold samples nearly as they are; others grow more when decoded


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a Whisper, by the names of its config.json; the defaults are those of Whisper medium."""

    d_model: int = 1024
    encoder_layers: int = 24
    decoder_layers: int = 24
    encoder_ffn_dim: int = 4096
    decoder_ffn_dim: int = 4096
    num_mel_bins: int = 80
    vocab_size: int = 51_865
    max_source_positions: int = 1500
    max_target_positions: int = 448

    @property
    def parameters(self) -> int:
        """Numbers in its tensors; the output layer is the token table."""
        d, fed_in, fed_out = self.d_model, self.encoder_ffn_dim, self.decoder_ffn_dim
        attention = 4 * d * d + 3 * d  # keys have no bias
        front = 3 * self.num_mel_bins * d + d + 3 * d * d + d + self.max_source_positions * d
        listening = self.encoder_layers * (attention + 2 * d * fed_in + fed_in + d + 4 * d) + 2 * d
        tables = (self.vocab_size + self.max_target_positions) * d
        writing = self.decoder_layers * (2 * attention + 2 * d * fed_out + fed_out + d + 6 * d) + 2 * d
        return front + listening + tables + writing

    @property
    def working(self) -> int:
        """Numbers held while a window is written down: keys and values of the beams, twice while beams are
        rearranged, and the scores of every token drawn, thrice while their probability is reckoned."""
        held = 2 * self.decoder_layers * self.d_model * (self.max_source_positions + NEW_TOKENS)
        heard = self.max_source_positions * (8 * self.d_model + 2 * self.encoder_ffn_dim)
        return 2 * BEAMS * held // 2 + 4 * BEAMS * NEW_TOKENS * self.vocab_size + heard


def memory_bytes(card: Card, request: TranscriptionRequest | None) -> int:
    """Bytes on the device: loaded and idle, or at work. Reckoned in float32, as a CPU has it; a GPU takes half."""
    shape = _here(card) or Shape()
    idle = _LIBRARIES + 4 * shape.parameters
    if request is None:
        return idle
    # A second is 16,000 samples and 100 spectra, both twice while they are made: some files are that much smaller.
    return idle + 4 * shape.working + (4 if request.audio[:4] in _PLAIN else 24) * len(request.audio)


def _here(card: Card) -> Shape | None:
    try:
        config = json.loads((weights_dir(card.id, card.revision) / "config.json").read_text("utf-8"))
        return Shape(**{name: int(config[name]) for name in Shape.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not here, or broken: loading it will say what is wrong
