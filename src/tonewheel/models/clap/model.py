"""CLAP behind the four verbs: recordings and texts in, embeddings and what follows from them out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tonewheel.audio import incoming
from tonewheel.errors import InvalidRequest
from tonewheel.models.base import Card, Model, Result, RunContext
from tonewheel.models.batching import Batcher
from tonewheel.models.clap.card import LONGEST_S
from tonewheel.models.clap.checkpoint import load
from tonewheel.models.clap.contract import ClapRequest, Task
from tonewheel.models.clap.frontend import SAMPLE_RATE, LogMel
from tonewheel.models.clap.labels import GENRES, MOODS, sentences
from tonewheel.models.clap.tower import quicken
from tonewheel.models.clap.windows import Samples, Windows, joined
from tonewheel.models.device import best_device
from tonewheel.models.kept_memory import keep_freed
from tonewheel.settings import may_unpickle, settings, weights_dir

Embedding = NDArray[np.float32]  # [512], of length 1

_SCALE = 100.0  # of the contract: softmax of 100 × cosine
_WINDOWS = {"cpu": 2, "cuda": 32}  # heard at once; on a CPU more only take more memory
_CREW = 4  # batches at once on a CPU: two threads that share one wait for each other at every layer
_TEXTS = 64
_KEPT_TEXTS = 4096  # embeddings of 2 kB
_DECODED = 0.1  # share of the work, as progress tells it
LIMITS = incoming.Limits(seconds=LONGEST_S)


class Clap(Model[ClapRequest]):
    """One checkpoint. Requests of all clients share its batches."""

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.device = best_device().type
        self.dtype = settings().clap_dtype

    def load(self, context: RunContext) -> None:
        context.progress("weights", 0.0)
        folder = weights_dir(self.card.id, self.card.revision)
        loaded = load(folder, self.card.id, allow_pickle=may_unpickle(self.card.id))
        self._network = loaded.model.to(self.device)
        quicken(self._network, products=self.dtype == "float32")
        if self.dtype == "bfloat16":
            _shorten(self._network.audio_model)
            _shorten(self._network.audio_projection)
        self._tokenizer, self._fused = loaded.tokenizer, loaded.fused
        self._mel = LogMel(loaded.extractor, fused=loaded.fused, device=self.device)
        # Positions begin after the padding id (RoBERTa), and two of them are used up.
        self._most_tokens = int(self._network.config.text_config.max_position_embeddings) - 2
        self._threads = torch.get_num_threads()
        self._crew = min(_CREW, self._threads) if self.device == "cpu" else 1
        keep_freed()
        self._texts: OrderedDict[str, Embedding] = OrderedDict()
        self._memory = threading.Lock()  # of the texts
        self._windows = Batcher(self._hear, most=_WINDOWS[self.device], crew=self._crew, name="clap-audio")
        self._words = Batcher(self._read, most=_TEXTS, name="clap-text")
        context.progress("warm up", 0.7)
        incoming.warm()
        self._windows.run([np.zeros(self._mel.length, np.float32)])
        self.embed_texts(sentences(GENRES) + sentences(MOODS))

    def validate(self, request: ClapRequest) -> ClapRequest:
        for field in ("text_candidates", "genres", "moods", "texts"):
            for index, text in enumerate(getattr(request, field) or ()):
                self._ensure_readable(text, f"{field}[{index}]")
        if request.text is not None:
            self._ensure_readable(request.text, "text")
        return request

    def run(self, request: ClapRequest, context: RunContext) -> Result:
        context.progress("decode", 0.0)
        fields: dict[str, Any] = {"tasks": list(request.tasks)}
        if request.texts is not None:
            fields["text_embeddings"] = [_plain(e) for e in self.embed_texts(request.texts, context)]
        recordings = request.recordings
        if not recordings:
            return Result(fields | {"tasks": []})
        names = ["audio"] if request.batch is None else [f"batch[{i}]" for i in range(len(recordings))]
        heard = [self._sound(data, name, context) for data, name in zip(recordings, names, strict=True)]
        other = self._sound(request.audio_b, "audio_b", context) if "similarity" in request.tasks else None
        embeddings = self.embed([*heard, *([other] if other is not None else [])], context)
        beside = embeddings[-1] if other is not None else None
        told = [
            self._told(request, embedding, beside, context) | _facts(windows)
            for windows, embedding in zip(heard, embeddings[: len(heard)], strict=True)
        ]
        duration = sum(windows.duration_s for windows in heard)
        return Result(fields | ({"results": told} if request.batch is not None else told[0]), duration_s=duration)

    def release(self) -> None:
        self._windows.close()
        self._words.close()
        del self._network, self._mel, self._texts

    # ── hearing ──

    def embed(self, recordings: Sequence[Windows], context: RunContext | None = None) -> list[Embedding]:
        """The embedding of each recording."""
        context = context or RunContext()
        every = _Joined(recordings)
        outs = self._windows.run(
            every, check=context.check_cancelled,
            tell=lambda done: context.progress("embed", _DECODED + (0.95 - _DECODED) * done / len(every)),
        )  # fmt: skip
        found, at = [], 0
        for windows in recordings:
            found.append(joined(np.stack(outs[at : at + len(windows)])))
            at += len(windows)
        return found

    def windows(self, samples: Samples) -> Windows:
        """Windows of `samples [n]` at 48 kHz."""
        return Windows(samples, self._mel.length, SAMPLE_RATE)

    def _sound(self, data: bytes | None, name: str, context: RunContext) -> Windows:
        assert data is not None
        check: Callable[[], None] = context.check_cancelled
        sound = incoming.decode(data, LIMITS, rate=SAMPLE_RATE, mono=True, name=name, param=name, check=check)
        return self.windows(sound.samples[:, 0])

    def _hear(self, windows: list[Samples]) -> list[Embedding]:
        """For the batcher: the embedding of each window."""
        # Of this thread alone. A batch with nobody beside it has all processors.
        torch.set_num_threads(max(1, self._threads // self._crew) if self._windows.others else self._threads)
        short = torch.autocast(self.device, torch.bfloat16, enabled=self.dtype == "bfloat16")
        with torch.inference_mode(), short:
            mels = self._mel(windows)
            # Fusion blends crops of a long recording in; here every crop is the window itself, as the library
            # has it for a recording of up to ten seconds.
            longer = torch.ones(len(windows), 1, dtype=torch.bool, device=mels.device) if self._fused else None
            found = self._network.get_audio_features(input_features=mels, is_longer=longer).pooler_output
            return list(found.float().cpu().numpy())

    # ── reading ──

    def embed_texts(self, texts: Sequence[str], context: RunContext | None = None) -> list[Embedding]:
        """The embedding of each text; those read before are remembered, so a label set is read once."""
        context = context or RunContext()
        with self._memory:
            found = {text: self._texts[text] for text in texts if text in self._texts}
        unread = [text for text in dict.fromkeys(texts) if text not in found]
        found |= zip(unread, self._words.run(unread, check=context.check_cancelled), strict=True)
        with self._memory:
            for text, embedding in found.items():
                self._texts[text] = embedding
                self._texts.move_to_end(text)
            while len(self._texts) > _KEPT_TEXTS:
                self._texts.popitem(last=False)
        return [found[text] for text in texts]

    def _read(self, texts: list[str]) -> list[Embedding]:
        """For the batcher: the embedding of each text."""
        torch.set_num_threads(self._threads)
        with torch.inference_mode():
            tokens = self._tokenizer(texts, padding=True, return_tensors="pt").to(self.device)
            found = self._network.get_text_features(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            ).pooler_output
            return list(found.float().cpu().numpy())

    def _ensure_readable(self, text: str, name: str) -> None:
        if len(text) * 4 + 2 <= self._most_tokens:  # no character takes more than its four bytes
            return
        count = len(self._tokenizer(text)["input_ids"])
        if count > self._most_tokens:
            raise InvalidRequest(
                f"{name} has {count} tokens: the model reads at most {self._most_tokens}; make it shorter", param=name
            )

    # ── telling ──

    def _told(
        self, request: ClapRequest, embedding: Embedding, beside: Embedding | None, context: RunContext
    ) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for task in request.tasks:
            told[task] = self._of(task, request, embedding, beside, context)
        if request.text is not None:
            (text,) = self.embed_texts([request.text], context)
            told["text"] = {"text": request.text, "score": _cosine(embedding, text)}
        return told

    def _of(
        self, task: Task, request: ClapRequest, embedding: Embedding, beside: Embedding | None, context: RunContext
    ) -> Any:
        if task == "embeddings":
            return _plain(embedding)
        if task == "similarity":
            assert beside is not None  # the contract saw to it
            score = _cosine(embedding, beside)
            return {"score": score, "distance": 1 - score}
        if task == "zero_shot":
            labels = request.text_candidates or []
            return _predictions(embedding, labels, self.embed_texts(labels, context))
        own, ours = (request.genres, GENRES) if task == "genre" else (request.moods, MOODS)
        labels = own or list(ours)
        return _predictions(embedding, labels, self.embed_texts(sentences(labels), context))


def _shorten(part: Any) -> None:
    """Keep the weights of its products in the type that autocast would cast them to, anew for every batch."""
    for module in part.modules():
        if isinstance(module, torch.nn.Linear):
            module.to(torch.bfloat16)


class _Joined(Sequence[Samples]):
    """The windows of several recordings as one sequence, still made when asked for."""

    def __init__(self, parts: Sequence[Windows]) -> None:
        self._parts = parts
        self._places = [(part, index) for part in parts for index in range(len(part))]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        part, place = self._places[index]
        return part[place]


def _predictions(embedding: Embedding, labels: list[str], texts: list[Embedding]) -> dict[str, Any]:
    logits = _SCALE * (np.stack(texts).astype(np.float64) @ embedding.astype(np.float64))
    scores = np.exp(logits - logits.max())
    scores /= scores.sum()
    order = np.argsort(-scores, kind="stable")
    predictions = [{"label": labels[i], "score": float(scores[i])} for i in order]
    return {"predictions": predictions, "top_label": predictions[0]["label"]}


def _cosine(a: Embedding, b: Embedding) -> float:
    return float(np.clip(a.astype(np.float64) @ b.astype(np.float64), -1.0, 1.0))


def _plain(embedding: Embedding) -> list[float]:
    return [round(float(value), 8) for value in embedding]  # a float32 of length 1 has no more


def _facts(windows: Windows) -> dict[str, Any]:
    return {"duration": round(windows.duration_s, 6), "windows": len(windows)}
