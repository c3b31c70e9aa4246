"""Every setting and environment variable, typed, in one place."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tonewheel.errors import InvalidRequest, OutputRefused
from tonewheel.explain import explained
from tonewheel.keep_alive import parse_keep_alive


def _data_dir() -> Path:
    """Where a user's data lives on this system (XDG on Linux)."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "tonewheel"
    base = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "tonewheel"


class Settings(BaseSettings):
    """Read once from `TONEWHEEL_*` environment variables (a few bear names of existing contracts)."""

    model_config = SettingsConfigDict(env_prefix="TONEWHEEL_", env_ignore_empty=True)

    styles_dir: Path | None = Field(default=None, description="Folder with the user's own style files (*.yaml).")
    soundfont: Path | None = Field(
        default=None, description="SoundFont (.sf2, .sf3) for acoustic parts, with tonewheel[soundfont]."
    )

    data_dir: Path = Field(
        default_factory=_data_dir, description="Folder of the database, the songs made and what is in work."
    )
    database_url: str | None = Field(
        default=None, description="postgresql://… for many machines. Absent = an SQLite file in the data folder."
    )
    storage_url: str | None = Field(
        default=None, description="Where songs are: file:///FOLDER, s3://BUCKET/PREFIX or gs://…. Absent = data folder."
    )
    aws_access_key_id: SecretStr | None = Field(
        default=None, validation_alias="AWS_ACCESS_KEY_ID", description="Key for s3:// storage."
    )
    aws_secret_access_key: SecretStr | None = Field(
        default=None, validation_alias="AWS_SECRET_ACCESS_KEY", description="Its secret."
    )
    aws_session_token: SecretStr | None = Field(
        default=None, validation_alias="AWS_SESSION_TOKEN", description="For keys that are valid for a while only."
    )
    aws_region: str = Field(
        default="us-east-1", validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"), description="Of s3://."
    )
    aws_endpoint_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        description="Base URL of an S3 server that is not Amazon's.",
    )
    queue_limit: int = Field(default=500, ge=0, description="Jobs that may wait; one more is refused with 429.")
    max_starts: int = Field(default=3, ge=1, description="Starts after which a job that kills its worker is set aside.")
    worker_dead_after_s: float = Field(
        default=15.0, ge=2, description="A worker that has not been heard of for so long is dead; its jobs move on."
    )
    keep_jobs_days: float = Field(default=30.0, gt=0, description="Finished jobs are forgotten after so long.")
    keep_songs_days: float | None = Field(
        default=None, gt=0, description="Songs are deleted after so long. Absent = they are kept."
    )
    hear_old_songs: bool = Field(
        default=True,
        description="Songs that no model has heard yet are heard while nothing else is to do, so that they are found.",
    )
    min_free_mb: float = Field(
        default=100.0, ge=0, description="Free disk, in MB, below which no new work is taken and none is started."
    )

    # ── services (tonewheel.serving) ──
    api_key: SecretStr | None = Field(
        default=None, description="Key a service asks for (`Authorization: Bearer …`); needed for a public bind."
    )
    deadline_s: float = Field(
        default=120.0, gt=0, description="Least deadline of a request; the real one is max(this, 5 × duration + 30 s)."
    )
    drain_s: float = Field(
        default=60.0, ge=0, description="Seconds a running request may still take after SIGTERM before it is stopped."
    )
    allowed_hosts: str = Field(
        default="", description="Further host names a service on loopback answers to, comma-separated."
    )
    trace_content: bool = Field(default=False, description="Record prompts and lyrics in traces; off for privacy.")

    # ── gateway: the public API (tonewheel serve) ──
    host: str = Field(default="127.0.0.1", description="Address the server listens on; a public one needs an API key.")
    port: int = Field(default=8900, ge=0, le=65535, description="Port the server listens on; 0 = any free one.")
    cors_origins: str = Field(
        default="", description="Origins (https://…), comma-separated, whose pages may use the server. Absent = none."
    )
    server: str | None = Field(
        default=None, description="A running server that `song`, `plan` and `jobs` use; its key is TONEWHEEL_API_KEY."
    )

    # ── fleet: which model runs where ──
    models_dir: Path | None = Field(
        default=None, description="Folder of pulled weights. Absent = `models` in the data folder."
    )
    keep_alive: str = Field(
        default="10m",
        description="How long an idle model stays loaded: 0, -1 (always), seconds, or such as 30m, 1h30m.",
    )
    load_timeout_s: float = Field(default=900.0, gt=0, description="A model not ready after so long is given up.")
    memory_reserve_mb: float = Field(
        default=256.0, ge=0, description="Memory of a device, in MB, that loading a model leaves free."
    )
    hub_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("TONEWHEEL_HUB_URL", "HF_ENDPOINT"),
        description="Base URL that hf: models are pulled from. Absent = the one huggingface_hub names, if installed.",
    )
    hub_token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("TONEWHEEL_HUB_TOKEN", "HF_TOKEN"),
        description="Sent to the hub for models that ask for an account; never to where it redirects.",
    )
    pickled_models: str = Field(
        default="",
        description="Models, comma-separated, whose weights may be read from pickles (tensors only) where there is "
        "nothing better.",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Threads of a model process, TONEWHEEL_<MODEL>_THREADS for one. Absent = all it may use.",
    )
    musicgen_dtype: Literal["auto", "float32", "bfloat16", "float16", "int8", "int4"] = Field(
        default="auto",
        description="Weights of MusicGen's transformer; auto = bfloat16 on a GPU, int8 on a CPU with native kernels, "
        "else float32.",
    )
    musicgen_cache_mb: float | None = Field(
        default=None, gt=0, description="MB for keys and values of all its requests. Absent = most of what is free."
    )
    heartmula_model_path: Path | None = Field(
        default=None,
        validation_alias="HEARTMULA_MODEL_PATH",
        description="Folder with gen_config.json, tokenizer.json, HeartMuLa-oss-<version>/ and HeartCodec-oss/.",
    )
    heartmula_version: str = Field(
        default="3B",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$",
        validation_alias="HEARTMULA_VERSION",
        description="Names the folder HeartMuLa-oss-<version>.",
    )
    heartmula_output_dir: Path | None = Field(
        default=None,
        validation_alias="HEARTMULA_OUTPUT_DIR",
        description="Where songs of /v1/music/generations are kept. Absent = `heartmula` in the data folder.",
    )
    heartmula_dtype: Literal["float32", "float16", "bfloat16", "int8", "int4"] | None = Field(
        default=None,
        validation_alias="HEARTMULA_DTYPE",
        description="HeartMuLa's weights; half precision on CUDA only. Absent = bfloat16 there, int8 on a CPU with "
        "native kernels, else float32.",
    )
    heartmula_device: Literal["cpu", "cuda", "mps"] | None = Field(
        default=None, validation_alias="HEARTMULA_DEVICE", description="Absent = CUDA if it is there, else the CPU."
    )
    heartmula_force_mps: bool = Field(
        default=False,
        validation_alias="HEARTMULA_FORCE_MPS",
        description="Have HEARTMULA_DEVICE=mps, untried as it is.",
    )
    heartmula_host: str = Field(
        default="127.0.0.1",
        validation_alias="HEARTMULA_HOST",
        description="Address `tonewheel service heartmula` listens on; a public one needs an API key.",
    )
    heartmula_port: int = Field(
        default=9920, ge=0, le=65535, validation_alias="HEARTMULA_PORT", description="Its port; 0 = any free one."
    )
    diffusion_dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Type of the weights of ACE-Step, AudioLDM2 and Stable Audio; auto = half precision on CUDA, else "
        "float32.",
    )
    diffusion_offload: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Whether parts of these models wait in main memory while others work: auto = where the GPU has no "
        "room for all.",
    )
    clap_dtype: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Numbers CLAP hears with; bfloat16 is twice as fast where the CPU or GPU has units for it.",
    )
    heartmula_base_url: str | None = Field(
        default=None,
        validation_alias="HEARTMULA_BASE_URL",
        description="A heartmula server to use; never told outside.",
    )
    heartmula_timeout_sec: float = Field(
        default=120.0,
        gt=0,
        validation_alias="HEARTMULA_TIMEOUT_SEC",
        description="Least deadline of a heartmula render; the real one is max(this, 5 × duration + 30 s).",
    )
    jen1_url: str | None = Field(default=None, validation_alias="JEN1_URL", description="A jen1 server to use.")

    # ── jen1: names its clients already use ──
    use_torch: bool = Field(default=False, validation_alias="USE_TORCH", description="Plan with a local causal model.")
    jen1_model: str | None = Field(default=None, validation_alias="JEN1_MODEL", description="Which one.")

    @field_validator("keep_alive")
    @classmethod
    def _readable(cls, value: str) -> str:
        try:
            parse_keep_alive(value)
        except InvalidRequest as error:
            raise ValueError(error.message) from None
        return value


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process. Raises InvalidRequest for a variable that cannot be what it is set to."""
    try:
        return Settings()
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]  # its value may be a secret
        place = str(first["loc"][0]) if first["loc"] else "the settings"
        name = f"TONEWHEEL_{place.upper()}" if place in Settings.model_fields else place
        said = explained([first | {"loc": ()}], InvalidRequest).message
        raise InvalidRequest(f"the environment variable {name}: {said}", param=place) from None


def made_folder(folder: Path, said_by: str = "TONEWHEEL_DATA_DIR or --data-dir") -> Path:
    """`folder`, made if it was not there and writable. Raises OutputRefused; `said_by` is what sets it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        reason = "it is no folder" if isinstance(e, (FileExistsError, NotADirectoryError)) else e.strerror or str(e)
        raise OutputRefused(f"the folder {folder} cannot be used: {reason}; choose another with {said_by}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputRefused(f"the folder {folder} may not be written by this user; choose another with {said_by}")
    return folder


def service_url(name: str) -> str | None:
    """Base URL of a service that runs elsewhere (`TONEWHEEL_<NAME>_URL`, or its older name); None = it runs here."""
    older = {"heartmula": settings().heartmula_base_url, "jen1": settings().jen1_url}.get(name)
    url = os.environ.get(f"TONEWHEEL_{_variable(name)}_URL") or older
    return url.rstrip("/") if url else None


def service_place(name: str) -> tuple[str, int | None]:
    """Host and port a service listens on when nothing else is said; None = the port of its card."""
    wishes = settings()
    older = {"heartmula": (wishes.heartmula_host, wishes.heartmula_port)}
    return older.get(name, ("127.0.0.1", None))


def service_key(name: str) -> str | None:
    """API key for the service at `service_url` (`TONEWHEEL_<NAME>_KEY`)."""
    return os.environ.get(f"TONEWHEEL_{_variable(name)}_KEY") or None


def _variable(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name.upper())


def models_dir() -> Path:
    """Folder of all pulled weights."""
    return settings().models_dir or settings().data_dir / "models"


def path_variable(model: str) -> str:
    """The environment variable that names a model's folder."""
    return f"TONEWHEEL_{_variable(model)}_PATH"


def threads_variable(model: str) -> str:
    """The environment variable that limits one model's threads."""
    return f"TONEWHEEL_{_variable(model)}_THREADS"


def own_weights(model: str) -> Path | None:
    """A folder of weights that is used as it is (`TONEWHEEL_<MODEL>_PATH`, or the older name of a family's setting);
    None = pulled ones are."""
    path = os.environ.get(path_variable(model))
    older = {"heartmula": settings().heartmula_model_path}.get(model.partition("-")[0])
    return Path(path).expanduser() if path else older and older.expanduser()


def weights_dir(model: str, revision: str) -> Path:
    """Where the files of a model lie; `model` is the id of its card. It may not be there yet."""
    return own_weights(model) or models_dir() / model / (revision.replace("/", "_") or "main")


def may_unpickle(model: str) -> bool:
    """Whether the user allows pickles for this model."""
    return model in {name.strip() for name in settings().pickled_models.split(",")}
