"""What is known of a model before anything of it is loaded: what it can do, its files, licence, limits."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Task = Literal[
    "song", "plan", "music", "sound", "continuation", "melody", "embed", "classify", "beats", "transcribe", "separate",
    "midi",
]  # fmt: skip


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class CardFile(_Frozen):
    """A file of a model as it lies at its source."""

    path: str = Field(description="Relative to the source.")
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class CardPart(_Frozen):
    """Files that lie in a folder of the model's own folder and come from a source of their own."""

    folder: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Where they lie in the model's.")
    source: str = Field(description="As a card's; with `pull --from FOLDER` they are taken from FOLDER/<folder>.")
    revision: str = "main"
    files: tuple[CardFile, ...] = ()
    patterns: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[CardFile, ...]:
        """Its files by their place in the model's folder."""
        return tuple(f.model_copy(update={"path": f"{self.folder}/{f.path}"}) for f in self.files)


class Card(_Frozen):
    """What is known of a model before it is loaded."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$", description="Such as musicgen-small.")
    family: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$", description="The code that runs it.")
    title: str
    description: str = ""
    tasks: tuple[Task, ...] = Field(min_length=1)
    source: str = Field(default="built-in", description="built-in, hf:OWNER/NAME, a folder, or s3://…")
    revision: str = Field(default="", description="A commit of the source; for built-in models their version.")
    files: tuple[CardFile, ...] = ()
    patterns: tuple[str, ...] = Field(
        default=(),
        description="Where `files` is not known: names to take (*.json, unet/*.json …); hashes are the source's own.",
    )
    parts: tuple[CardPart, ...] = Field(default=(), description="What belongs beside them, from other sources.")
    code_license: str = Field(description="SPDX id.", examples=["Apache-2.0"])
    weight_license: str | None = Field(default=None, description="SPDX id or name; None = there are no weights.")
    consent_required: bool = Field(default=False, description="The weights restrict use: one recorded yes is needed.")
    forbids: str = Field(default="", description="What that licence forbids, in a few words of ours.")
    sample_rate: int | None = Field(default=None, description="Hz of the audio made or heard; None = no audio.")
    channels: int | None = None
    max_duration_s: float | None = Field(default=None, description="Longest audio of one request.")
    devices: tuple[Literal["cuda", "rocm", "mps", "cpu"], ...] = Field(
        default=("cpu",), min_length=1, description="Kinds of device it can run on, the best first."
    )
    concurrency: int = Field(default=1, ge=1, description="Requests run at once; one more is refused.")
    deadline_s: float | None = Field(default=None, description="Its own least deadline, where it needs a longer one.")
    service: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$", description="Name of its HTTP service.")
    default_port: int = Field(ge=1, le=65535)

    @property
    def size_bytes(self) -> int:
        """Bytes to pull, as far as they are known; 0 for a built-in model."""
        return sum(f.size_bytes for f in self.known)

    @property
    def known(self) -> tuple[CardFile, ...]:
        """The files whose hashes are known, those of parts too, by their place in the model's folder."""
        return (*self.files, *(f for part in self.parts for f in part.known))

    def shown(self) -> dict[str, Any]:
        """In plain JSON types, without the single files."""
        told = self.model_dump(mode="json", exclude={"files": True, "parts": {"__all__": {"files"}}})
        return told | {"size_bytes": self.size_bytes}
