"""HeartMuLa's files, texts, plans and memory: what is read, what is refused and how it is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import heartmula_checkpoints as checkpoints
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tonewheel.errors import DiskFull, InvalidRequest, ModelBroken, NotFound, NotSupported
from tonewheel.explain import explain
from tonewheel.models import registry
from tonewheel.models.heartmula.card import CARDS, RELEASES
from tonewheel.models.heartmula.checkpoint import Checkpoint, Ids
from tonewheel.models.heartmula.device import place
from tonewheel.models.heartmula.kept import find, keep
from tonewheel.models.heartmula.plan import from_plan
from tonewheel.models.heartmula.prompt import Texts
from tonewheel.models.heartmula.request import HeartmulaRequest
from tonewheel.settings import Settings, settings
from tonewheel.songs.plan import SongPlan

NEW, RL, FIRST = (RELEASES[card.id] for card in CARDS)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = checkpoints.Recipe(weights="single")
    return checkpoints.make(tmp_path_factory.mktemp("heartmula") / "single", recipe)


@pytest.fixture
def folder(single: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(single, tmp_path / "model"))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    def tell(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()

    yield tell
    settings.cache_clear()


# ── layouts ──


@pytest.mark.parametrize(
    "recipe",
    [
        checkpoints.Recipe(),
        checkpoints.Recipe(weights="single", codec_prefix="decoder.", initted="one"),
        checkpoints.Recipe(version="mine", dtype=torch.bfloat16),
    ],
    ids=["sharded", "single, later names", "another version, half"],
)
def test_every_layout_gives_the_same_tensors(recipe: checkpoints.Recipe, tmp_path: Path) -> None:
    found = Checkpoint.open(checkpoints.make(tmp_path, recipe), FIRST, recipe.version)
    parts = (
        (found.language, checkpoints.language_tensors(recipe), ("audio_head", "decoder.layers.1.mlp.w2.weight")),
        (found.codec, checkpoints.codec_tensors(recipe), ("scalar_model.decoder.7.bias",)),
    )
    for part, wanted, names in parts:
        with part.reader(torch.device("cpu"), torch.float16) as weights:
            for name in names:
                stored = wanted[name].to(recipe.dtype)
                assert torch.equal(weights(name), stored.half())
                assert torch.equal(weights(name, dtype=torch.float32), stored.float())


def test_the_folder_of_the_release_comes_before_the_one_of_the_version(folder: Path) -> None:
    shutil.copytree(folder / "HeartMuLa-oss-3B", folder / NEW.language)
    shutil.copytree(folder / "HeartCodec-oss", folder / NEW.codec)
    assert Checkpoint.open(folder, NEW).language.folder.name == NEW.language
    assert Checkpoint.open(folder, NEW).codec.folder.name == NEW.codec
    assert Checkpoint.open(folder, FIRST).codec.folder.name == "HeartCodec-oss"


# ── what is refused ──


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("gen_config.json", "no gen_config.json: it is part of hf:HeartMuLa/HeartMuLaGen"),
        ("tokenizer.json", "no tokenizer.json"),
        ("HeartMuLa-oss-3B", "no folder HeartMuLa-oss-3B: put hf:HeartMuLa/HeartMuLa-oss-3B into it"),
        ("HeartCodec-oss", "no folder HeartCodec-oss: put hf:HeartMuLa/HeartCodec-oss into it"),
        ("HeartCodec-oss/config.json", "no config.json"),
        ("HeartMuLa-oss-3B/model.safetensors", "no weights"),
    ],
)
def test_what_is_missing_is_named(folder: Path, gone: str, says: str) -> None:
    path = folder / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ModelBroken, match=says):
        Checkpoint.open(folder, FIRST)


def test_a_codec_of_another_release_is_refused(folder: Path) -> None:
    (folder / "HeartCodec-oss").rename(folder / "HeartCodec-oss-20260123")
    with pytest.raises(ModelBroken, match="has HeartCodec-oss-20260123, but HeartMuLa 3B belongs with HeartCodec-oss"):
        Checkpoint.open(folder, FIRST)
    assert Checkpoint.open(folder, RL).codec.folder.name == "HeartCodec-oss-20260123"


def test_a_codec_that_reads_other_codes_is_refused(folder: Path) -> None:
    config = folder / "HeartCodec-oss" / "config.json"
    config.write_text(json.dumps(checkpoints.codec_config() | {"codebook_size": 1024}), "utf-8")

    def cut(tensors: dict[str, Tensor]) -> None:
        for name in [n for n in tensors if n.endswith("_codebook.embed")]:
            tensors[name] = tensors[name][:, :1024].contiguous()

    checkpoints.rewrite(config.parent, cut)
    with pytest.raises(ModelBroken, match="reads 8 of 1024: they do not belong together"):
        Checkpoint.open(folder, FIRST)


@pytest.mark.parametrize(
    ("part", "change", "says"),
    [
        ("HeartMuLa-oss-3B", lambda t: t.pop("audio_head"), "are missing: audio_head"),
        ("HeartMuLa-oss-3B", lambda t: t.update(stray=torch.zeros(1)), "are not known: stray"),
        ("HeartMuLa-oss-3B", lambda t: t.update({"muq_linear.bias": torch.zeros(3)}), r"muq_linear.bias \[3\] instead"),
        (
            "HeartCodec-oss",
            lambda t: t.pop("scalar_model.decoder.3.convs.2.conv1.bias"),
            "decoder.3.convs.2.conv1.bias",
        ),
        ("HeartCodec-oss", lambda t: t.update({"flow_matching.more": torch.zeros(1)}), "not known: flow_matching.more"),
    ],
    ids=["missing", "unknown", "shape", "missing in the codec", "unknown in the codec"],
)
def test_a_tensor_that_is_wrong_is_named(
    folder: Path, part: str, change: Callable[[dict[str, Tensor]], None], says: str
) -> None:
    checkpoints.rewrite(folder / part, change)
    with pytest.raises(ModelBroken, match=says):
        Checkpoint.open(folder, FIRST)


def test_a_file_that_was_cut_off_is_named(folder: Path) -> None:
    file = folder / "HeartCodec-oss" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelBroken, match=r"HeartCodec-oss/model\.safetensors cannot be read"):
        Checkpoint.open(folder, FIRST)


def test_sizes_that_are_unknown_or_make_no_sense_are_refused(folder: Path) -> None:
    path = folder / "HeartMuLa-oss-3B" / "config.json"
    config = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(config | {"backbone_flavor": "llama-9B"}), "utf-8")
    with pytest.raises(ModelBroken, match="'llama-9B' is not known"):
        Checkpoint.open(folder, FIRST)
    config["flavors"]["tiny-decoder"]["heads"] = 3
    path.write_text(json.dumps(config), "utf-8")
    with pytest.raises(ModelBroken, match="sizes that do not go together"):
        Checkpoint.open(folder, FIRST)


# ── texts ──


def test_texts_become_ids_as_upstream_makes_them(single: Path) -> None:
    texts = Texts(single / "tokenizer.json", Ids(checkpoints.BOS, checkpoints.EOS), checkpoints.TEXT_VOCABULARY)
    made = texts("Piano,HAPPY", "[Verse]\nHello")
    plain = texts._tokenizer.encode("<tag>piano,happy</tag>", add_special_tokens=False).ids
    assert made.tags == (checkpoints.BOS, *plain, checkpoints.EOS)
    sung = texts._tokenizer.encode("[verse]\nhello", add_special_tokens=False).ids
    assert made.lyrics == (checkpoints.BOS, *sung, checkpoints.EOS)
    assert len(made) == len(made.tags) + 1 + len(made.lyrics)
    assert texts("", "").lyrics == (checkpoints.BOS, checkpoints.EOS)


def test_a_text_is_a_text_never_a_command_and_never_a_file(single: Path, tmp_path: Path) -> None:
    texts = Texts(single / "tokenizer.json", Ids(checkpoints.BOS, checkpoints.EOS), checkpoints.TEXT_VOCABULARY)
    secret = tmp_path / "secret.txt"
    secret.write_text("do not sing this")
    assert texts("a", str(secret)).lyrics[1:-1] == texts("a", "x" + str(secret)).lyrics[2:-1]
    ended = texts("a", "one <|end_of_text|> two <|begin_of_text|>")
    assert ended.lyrics.count(checkpoints.EOS) == 1 and ended.lyrics.count(checkpoints.BOS) == 1
    assert texts("<tag>a</tag>", "").tags == texts(" a ", "").tags


def test_the_tokenizer_of_another_model_is_refused(single: Path) -> None:
    with pytest.raises(ModelBroken, match="tokenizer of another model"):
        Texts(single / "tokenizer.json", Ids(), 100)
    with pytest.raises(ModelBroken, match="cannot be read as a tokenizer"):
        Texts(single / "gen_config.json", Ids(), 100)


# ── requests ──


def test_the_contracts_defaults_are_kept() -> None:
    asked = HeartmulaRequest.model_validate({"prompt": "calm piano"})
    assert (asked.duration, asked.temperature, asked.top_k, asked.top_p, asked.guidance_scale, asked.seed) == (
        30.0, 1.0, 50, None, 1.5, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "sound", "words"),
    [
        ({"prompt": "calm piano"}, "calm piano", ""),
        ({"input": "calm piano"}, "calm piano", ""),
        ({"prompt": "one line\nanother"}, "", "one line\nanother"),
        ({"prompt": " ".join(["la"] * 21)}, "", " ".join(["la"] * 21)),
        ({"prompt": " ".join(["la"] * 20)}, " ".join(["la"] * 20), ""),
        ({"prompt": "warm", "lyrics": "sing"}, "warm", "sing"),
        ({"prompt": "a\nb", "lyrics": "sing"}, "a,b", "sing"),
        ({"style": " ".join(["la"] * 30)}, " ".join(["la"] * 30), ""),
        ({"tags": "electronic, ambient", "prompt": "x"}, "electronic,ambient,x", ""),
        ({"tags": ["a", "b"], "style": "c", "lyrics": ""}, "c,a,b", ""),
    ],
)
def test_what_is_sung_and_what_is_style(body: dict[str, object], sound: str, words: str) -> None:
    asked = HeartmulaRequest.model_validate(body)
    assert (asked.sound, asked.words) == (sound, words)


@pytest.mark.parametrize("tags", [{"a": 1}, [1, 2], ["a", None], 7, ["t"] * 51, "t" * 5001, ["t" * 101]])
def test_tags_that_are_none_are_refused_by_their_name(tags: object) -> None:
    with pytest.raises(ValidationError) as refused:
        HeartmulaRequest.model_validate({"prompt": "x", "tags": tags})
    told = explain(refused.value, InvalidRequest, "")
    assert told.param == "tags" and told.message.startswith("tags: ") and len(told.message) < 100


@pytest.mark.parametrize("body", [{}, {"prompt": "  "}, {"lyrics": "", "tags": ""}])
def test_nothing_to_make_music_of_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match="nothing to make music of"):
        HeartmulaRequest.model_validate(body)


def test_a_plan_becomes_tags_and_lyrics_under_known_marks() -> None:
    plan = SongPlan.model_validate(
        {
            "title": "t", "genre": "Synth-Pop", "moods": ["bright"], "tempo": 124, "key": "C major", "duration_s": 40,
            "seed": 1, "instrumentation": [{"instrument": "drum machine", "role": "drums"}],
            "sections": [
                {"id": "a", "label": "Intro", "duration_s": 8}, {"id": "b", "label": "Pre-Chorus", "duration_s": 8},
                {"id": "c", "label": "Chorus 2", "duration_s": 12, "lyrics": ["one", "two"]},
                {"id": "d", "label": "Guitar solo", "duration_s": 12},
            ],
        }
    )  # fmt: skip
    fields = from_plan(plan)
    assert fields["tags"] == ["synth-pop", "bright", "drum machine", "upbeat"]
    assert fields["lyrics"] == "[Intro]\n\n[Prechorus]\n\n[Chorus]\none\ntwo\n\n[Bridge]"
    assert HeartmulaRequest.model_validate(fields).words == fields["lyrics"]


# ── devices, files, memory ──


def test_half_precision_without_cuda_is_refused_and_says_what_to_do() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    assert place(Settings()).language == torch.float32
    for wishes, says in (
        ({"HEARTMULA_DTYPE": "float16"}, "HEARTMULA_DTYPE=float16 runs on CUDA only"),
        ({"HEARTMULA_DEVICE": "cuda"}, "torch finds no such GPU"),
        ({"HEARTMULA_DEVICE": "mps"}, "HEARTMULA_FORCE_MPS=1"),
    ):
        with pytest.raises(NotSupported, match=says):
            place(Settings(**wishes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../secret.wav", "x.wav", ".part", "A" * 22 + ".txt", "A" * 22 + ".wav/..", ""])
def test_only_names_of_our_own_files_are_looked_for(name: str, tmp_path: Path, told: Callable[..., None]) -> None:
    told(HEARTMULA_OUTPUT_DIR=str(tmp_path))
    with pytest.raises(NotFound):
        find(name)


def test_a_song_is_kept_whole_and_what_a_killed_service_left_is_swept(
    tmp_path: Path, told: Callable[..., None]
) -> None:
    told(HEARTMULA_OUTPUT_DIR=str(tmp_path / "songs"))
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / ".tonewheel-0123456789abcdef.part").write_bytes(b"half a so")
    song_id, name = keep(SimpleNamespace(data=b"a song", file_name="audio.flac"))
    assert name == f"{song_id}.flac" and find(name).read_bytes() == b"a song"
    assert [path.name for path in (tmp_path / "songs").iterdir()] == [name]


def test_a_song_for_which_there_is_no_room_is_told_and_leaves_nothing(
    tmp_path: Path, told: Callable[..., None]
) -> None:
    resource = pytest.importorskip("resource")
    told(HEARTMULA_OUTPUT_DIR=str(tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, before[1]))  # a signal that Python ignores, and EFBIG
    try:
        with pytest.raises(DiskFull, match="set HEARTMULA_OUTPUT_DIR"):
            keep(SimpleNamespace(data=bytes(1 << 16), file_name="audio.wav"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_memory_is_that_of_the_files_that_are_there_and_grows_with_length(
    single: Path, tmp_path: Path, told: Callable[..., None]
) -> None:
    family = registry.families()["heartmula"]
    first = next(card for card in family.cards if card.id == "heartmula-3b")
    # Nothing is there: the published sizes, 3.9 G and 1.6 G parameters.
    told(HEARTMULA_DTYPE="float32", HEARTMULA_MODEL_PATH=str(tmp_path))
    assert 21e9 < family.memory_bytes(first, None) < 24e9
    told(HEARTMULA_DTYPE="bfloat16")
    assert 10e9 < family.memory_bytes(first, None) < 13e9
    told(HEARTMULA_DTYPE="int8")  # of the language model; the codec stays in float32
    assert 10e9 < family.memory_bytes(first, None) < 11.5e9
    told(HEARTMULA_DTYPE="float32", HEARTMULA_MODEL_PATH=str(single))
    idle = family.memory_bytes(first, None)
    made = checkpoints.language_tensors(checkpoints.Recipe())
    assert 0 < idle - 420 * 2**20 - 4 * sum(t.numel() for t in made.values()) < 20e6
    brief, long = (
        family.memory_bytes(first, HeartmulaRequest.model_validate({"prompt": "x", "duration": d})) for d in (10, 240)
    )
    assert idle < brief < long


def test_one_setting_names_the_folder_of_every_release(single: Path, told: Callable[..., None]) -> None:
    from tonewheel.settings import own_weights

    told(HEARTMULA_MODEL_PATH=str(single))
    assert own_weights("heartmula-3b-rl") == single
    assert own_weights("musicgen-small") is None
    told(TONEWHEEL_HEARTMULA_3B_RL_PATH="/elsewhere")
    assert own_weights("heartmula-3b-rl") == Path("/elsewhere")


def test_every_card_says_what_its_weights_allow() -> None:
    for card in CARDS:
        assert card.weight_license == "Apache-2.0" and not card.consent_required
        assert (card.sample_rate, card.channels, card.default_port, card.service) == (48_000, 2, 9920, "heartmula")
    assert NEW.codec == RL.codec != FIRST.codec
