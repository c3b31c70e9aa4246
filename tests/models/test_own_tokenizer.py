"""Texts are counted while the pipeline tokenizes: neither disturbs the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from tonewheel.models.diffusion.tokens import OwnTokenizer

TEXT = "la " * 400
ROUNDS = 300


def test_a_count_and_the_pipelines_own_use_do_not_disturb_each_other(
    ace_step_checkpoint: Callable[[str], Path],
) -> None:
    """With one tokenizer for both, some of the counts are cut and some of the pipeline's ids are not."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(ace_step_checkpoint("turbo") / "tokenizer", local_files_only=True)
    own = OwnTokenizer(tokenizer)
    whole, found = len(TEXT), {"cut": set[int](), "counted": set[int]()}

    def pipeline() -> None:
        for _ in range(ROUNDS):
            ids = tokenizer([TEXT], padding="longest", truncation=True, max_length=256)["input_ids"][0]
            found["cut"].add(len(ids))

    def count() -> None:
        for _ in range(ROUNDS):
            found["counted"].add(own.count(TEXT))

    threads = [threading.Thread(target=work) for work in (pipeline, count, count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found == {"cut": {256}, "counted": {whole}}
    assert own.text(own.ids("a waltz")) == "a waltz" and "<|endoftext|>" in own.commands
