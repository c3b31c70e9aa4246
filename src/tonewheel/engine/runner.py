"""One step for all slots: the state tensors, the batch, the model, the draw."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from tonewheel.engine import pattern
from tonewheel.engine.cache import KeyValueCache
from tonewheel.engine.graphs import Graphs
from tonewheel.engine.model import Batch, FrameModel, Span
from tonewheel.engine.sampler import Adjust, Need, Sampler
from tonewheel.engine.sequence import Sequence

_PLAN_STEP = 512  # steps by which the plan grows
_TOP_K_BUCKET = 256  # top-k of captured steps is rounded up to a multiple
_LENGTH_BUCKET = 256  # positions read by captured steps, likewise


@dataclass(frozen=True, slots=True)
class Stepped:
    """What a step drew, on its way to the host: rows of `tokens` [B, K] belong to `sequences` at `steps`, and `spoilt`
    [B] is not 0 where they were drawn from numbers that are not finite."""

    tokens: torch.Tensor
    spoilt: torch.Tensor
    sequences: tuple[Sequence, ...]
    steps: tuple[int, ...]
    done: torch.cuda.Event | None  # None = the tokens are there


@dataclass(frozen=True, slots=True)
class _Layout:
    """The part of a batch that stays until somebody joins or leaves."""

    slots: torch.Tensor
    rows: torch.Tensor
    owner: torch.Tensor
    conditional: torch.Tensor
    unconditional: torch.Tensor
    need: Need


class Runner:
    """All mutable state of generation. Everything is indexed by slot; slot s has the cache rows 2s and 2s + 1.

    `block`: read the cache as one block with static shapes (CUDA) instead of row by row (CPU).
    """

    def __init__(self, model: FrameModel[object], slots: int, *, block: bool | None = None) -> None:
        self.model, self.slots = model, slots
        device = model.device
        self.block = device.type == "cuda" if block is None else block
        self.cache = KeyValueCache(model.cache_shape, model.dtype, device)
        self.sampler = Sampler(slots, device)
        self.step_of = torch.zeros(slots, dtype=torch.int64, device=device)
        self.position_of = torch.zeros(2 * slots, dtype=torch.int64, device=device)
        self.last = torch.full((slots, model.codebooks), model.pad, dtype=torch.int64, device=device)
        self.plan = torch.full((slots, model.codebooks, 0), -1, dtype=torch.int64, device=device)
        self.active = torch.zeros(slots, dtype=torch.bool, device=device)
        self.spoilt = torch.zeros(slots, 1, dtype=torch.int64, device=device)
        self.unconditional_of = torch.zeros(slots, dtype=torch.int64, device=device)  # 0 or 1: which of its two rows
        kernels = None if self.block else model.kernels
        self.drawing = None if kernels is None else kernels.drawing(self.sampler, self.last, self.spoilt)
        self._codebooks = torch.arange(model.codebooks, device=device)
        self._graphs = Graphs(device, lambda: [self.last, self.step_of, self.position_of])
        self._layout: tuple[tuple[int, ...], _Layout] | None = None
        model.open(slots)

    # ── joining and leaving ──

    def positions_of(self, sequence: Sequence) -> int:
        """Cache positions its longer branch will have filled at its end."""
        prefixes = self.model.prefix(sequence.request)
        return max(prefixes) + sequence.last_step - sequence.request.started

    def bytes_with(self, sequence: Sequence, slot: int) -> int:
        return self.cache.bytes_for(2 * slot + 2, self.positions_of(sequence))

    def admit(self, sequence: Sequence) -> None:
        """Make room, let the model compute what it computes once."""
        request, slot = sequence.request, sequence.slot
        room = 2 * slot + 2, self.positions_of(sequence)
        if self.cache.bytes_for(*room) != self.cache.bytes:
            self._graphs.clear()  # before it: where memory ends in the middle of growing, tensors were replaced as well
            self.cache.reserve(*room)
        if self.block:
            self.cache.wipe(2 * slot, 2 * slot + 2)
        self._reserve_plan(sequence.last_step)
        self.model.admit(slot, request)
        sequence.branches = self.model.branches(request)
        sequence.prefixes = self.model.prefix(request)
        sequence.filled = 0
        laid_out = pattern.laid_out(request.start, request.frames, self.model.delays, self.model.pad)
        self.plan[slot, :, : laid_out.shape[1]] = laid_out.to(self.plan.device)
        self.last[slot] = self.plan[slot, :, sequence.step - 1] if sequence.step else self.model.pad
        self.sampler.set(slot, request.sampling)
        self._layout = None

    def prefill(self, sequence: Sequence, most: int) -> bool:
        """Fill up to `most` positions of its prefix → is it whole."""
        whole = max(sequence.prefixes)
        if sequence.filled < whole:
            stop = min(whole, sequence.filled + most)
            self.model.prefill(sequence.slot, self.cache, sequence.filled, stop)
            sequence.filled = stop
        return sequence.filled >= whole

    def start(self, sequence: Sequence) -> None:
        """From the next step on it takes part."""
        slot = sequence.slot
        self.step_of[slot] = sequence.step
        for branch, prefix in enumerate(sequence.prefixes):
            self.position_of[2 * slot + branch] = prefix
        self.unconditional_of[slot] = sequence.branches - 1
        self.spoilt[slot] = 0  # only now: as a block, those that sit out are computed, too
        self.active[slot] = True
        self._layout = None

    def release(self, sequence: Sequence) -> None:
        """Its slot is free; what it held is given back or used again."""
        self.active[sequence.slot] = False
        self.model.release(sequence.slot)
        self._layout = None

    def rest(self) -> None:
        """Nobody is there: give the cache back."""
        self._graphs.clear()
        self.cache.release()
        self.model.rest()

    # ── a step ──

    def step(self, running: list[Sequence]) -> Stepped:
        """One step for all of `running` (every one in a slot of its own). Does not wait for the device."""
        slots = self._step_as_block(running) if self.block else self._step_by_rows(running)
        drawn = torch.cat([self.last[slots], self.spoilt[slots]], dim=1)
        steps = tuple(s.step for s in running)
        for sequence in running:
            sequence.step += 1
        if drawn.device.type != "cuda":
            return Stepped(drawn[:, :-1], drawn[:, -1], tuple(running), steps, None)
        host = torch.empty(drawn.shape, dtype=drawn.dtype, pin_memory=True)
        host.copy_(drawn, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
        return Stepped(host[:, :-1], host[:, -1], tuple(running), steps, done)

    def _step_by_rows(self, running: list[Sequence]) -> torch.Tensor:
        """One step of exactly these → their slots [B]."""
        layout = self._laid_out(running)
        spans, start = [], 0
        for s in running:
            lengths = [prefix + s.step - s.request.started + 1 for prefix in s.prefixes]
            if len(set(lengths)) == 1:
                spans.append(Span(start, start + s.branches, 2 * s.slot, lengths[0]))
            else:
                spans += [Span(start + n, start + n + 1, 2 * s.slot + n, length) for n, length in enumerate(lengths)]
            start += s.branches
        batch = Batch(
            layout.slots, layout.rows, layout.owner, layout.conditional, layout.unconditional,
            self.step_of[layout.slots], self.position_of[layout.rows], spans=tuple(spans),
        )  # fmt: skip
        self.model.step(self.last[layout.slots], batch, self.cache, _Draw(self, batch, layout.need, None))
        self.step_of[layout.slots] += 1
        self.position_of[layout.rows] += 1
        return layout.slots

    def _laid_out(self, running: list[Sequence]) -> _Layout:
        key = tuple(s.slot for s in running)
        if self._layout is not None and self._layout[0] == key:
            return self._layout[1]
        rows: list[int] = []
        owner: list[int] = []
        first: list[int] = []
        for n, s in enumerate(running):
            first.append(len(rows))
            rows += range(2 * s.slot, 2 * s.slot + s.branches)
            owner += [n] * s.branches
        second = [at + s.branches - 1 for at, s in zip(first, running, strict=True)]
        slots_, rows_, owner_, first_, second_ = (
            torch.tensor(x, device=self.model.device) for x in (list(key), rows, owner, first, second)
        )
        need = Need.of(s.request.sampling for s in running)
        self._layout = key, _Layout(slots_, rows_, owner_, first_, second_, need)
        return self._layout[1]

    def _step_as_block(self, running: list[Sequence]) -> torch.Tensor:
        """All slots up to the highest one in use, rounded up; those that sit out are computed and not kept → the
        slots [B] of these."""
        device = self.model.device
        top = max(s.slot for s in running) + 1
        count = min(1 << (top - 1).bit_length(), self.cache.rows // 2)
        longest = max(max(s.prefixes) + s.step - s.request.started + 1 for s in running)
        length = min(-(-longest // _LENGTH_BUCKET) * _LENGTH_BUCKET, self.cache.positions)
        need = Need.of((s.request.sampling for s in running), _TOP_K_BUCKET)
        active = self.active[:count]

        def whole_step() -> None:
            slots = torch.arange(count, device=device)
            rows = torch.arange(2 * count, device=device)
            owner = rows // 2
            sits_out = ~active[owner] | ((rows % 2) > self.unconditional_of[owner])
            positions = torch.where(sits_out, self.cache.positions - 1, self.position_of[: 2 * count])
            visible = torch.arange(length, device=device) <= positions[:, None]
            batch = Batch(
                slots, rows, owner, 2 * slots, 2 * slots + self.unconditional_of[:count],
                torch.where(active, self.step_of[:count], 0), positions,
                length=length, visible=visible[:, None, None, :],
            )  # fmt: skip
            self.model.step(self.last[:count].clone(), batch, self.cache, _Draw(self, batch, need, active))
            self.step_of[:count] += active
            self.position_of[: 2 * count] += active[owner]

        key = (count, length, need, self.model.variant([s.slot for s in running]))
        self._graphs.run(key, whole_step)
        return self._laid_out(running).slots  # indices made once: a copy to the device waits for it

    def _reserve_plan(self, steps: int) -> None:
        if steps <= self.plan.shape[-1]:
            return
        grown = -(-steps // _PLAN_STEP) * _PLAN_STEP
        fresh = torch.full((*self.plan.shape[:2], grown), -1, dtype=torch.int64, device=self.plan.device)
        fresh[..., : self.plan.shape[-1]] = self.plan
        self.plan = fresh
        self._graphs.clear()


class _Draw:
    """`Sample` of one step: what it draws is kept in `runner.last`, for those that take part."""

    def __init__(self, runner: Runner, batch: Batch, need: Need, active: torch.Tensor | None) -> None:
        self.runner, self.batch, self.need, self.active = runner, batch, need, active

    def __call__(
        self, logits: torch.Tensor, first: int = 0, adjust: Adjust | None = None, banned: torch.Tensor | None = None
    ) -> torch.Tensor:
        runner, batch = self.runner, self.batch
        logits = logits.float()
        if runner.drawing is not None:
            if adjust is not None or runner.model.guidance != "logits":
                logits, batch = self._guided(logits, adjust), self._alone()
            return runner.drawing.draw(logits, batch, runner.plan, first, banned)
        guided = self._guided(logits, adjust)
        if banned is not None:
            guided.masked_fill_(banned, -torch.inf)
        # The largest says it of all: it is NaN where any is, and infinite where a draw has no sense.
        finite = guided.amax(-1).isfinite().all(-1, keepdim=True)
        runner.spoilt[batch.slots] |= (~finite).to(torch.int64)
        codebooks = runner._codebooks[first : first + logits.shape[1]]
        drawn = runner.sampler.draw(guided, batch.slots, batch.steps, codebooks, self.need)
        at = batch.slots[:, None], codebooks[None, :]
        known = runner.plan[(*at, batch.steps[:, None])]
        tokens = torch.where(known >= 0, known, drawn)
        if self.active is not None:
            tokens = torch.where(self.active[:, None], tokens, runner.last[at])
        runner.last[at] = tokens
        return tokens

    def _guided(self, logits: torch.Tensor, adjust: Adjust | None) -> torch.Tensor:
        """[R, k, V] → [B, k, V], a tensor of its own."""
        if self.runner.model.guidance == "log_probabilities":
            logits = logits.log_softmax(-1)
        conditional, other = (logits.index_select(0, r) for r in (self.batch.conditional, self.batch.unconditional))
        guided = self.runner.sampler.guide(conditional, other, self.batch.slots)
        return guided if adjust is None else adjust(guided)

    def _alone(self) -> Batch:
        """The batch, as if each slot had one row: its guided one."""
        order = torch.arange(len(self.batch.slots))
        return replace(self.batch, conditional=order, unconditional=order)
