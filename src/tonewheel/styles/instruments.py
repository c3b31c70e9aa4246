"""The instruments the house knows: names, what MIDI calls them, where they sound well.

A catalogue of facts only; how each sounds is `composer/synth`. A test holds that every
instrument here can be rendered.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InstrumentInfo:
    """`gm_program` is the General MIDI program 0-127 (for a kit: the drum-kit program on channel 10);
    `low`-`high` the MIDI range in which the synth renders it well."""

    id: str
    title: str
    family: str  # organ keys mallets plucked bass lead pad strings voice brass wind drums effects
    gm_program: int
    low: int
    high: int
    aliases: tuple[str, ...] = ()


_ROWS = (
    ("drawbar_organ", "drawbar organ", "organ", 16, 36, 96, ("organ", "hammond", "tonewheel organ")),
    ("church_organ", "church organ", "organ", 19, 24, 96, ("pipe organ",)),
    ("electric_piano", "electric piano", "keys", 4, 28, 96, ("rhodes", "ep", "e-piano", "tine piano")),
    ("fm_piano", "FM electric piano", "keys", 5, 28, 100, ("dx piano", "digital piano")),
    ("felt_piano", "felt piano", "keys", 0, 28, 100, ("piano", "soft piano", "upright piano")),
    ("clavinet", "clavinet", "keys", 7, 36, 88, ("clav",)),
    ("vibraphone", "vibraphone", "mallets", 11, 53, 89, ("vibes",)),
    ("marimba", "marimba", "mallets", 12, 45, 96, ("kalimba",)),
    ("glockenspiel", "glockenspiel", "mallets", 9, 72, 108, ("music box", "celesta")),
    ("bells", "FM bells", "mallets", 14, 48, 100, ("bell", "tubular bells")),
    ("nylon_guitar", "nylon guitar", "plucked", 24, 40, 84, ("acoustic guitar", "classical guitar", "guitar")),
    ("steel_guitar", "steel guitar", "plucked", 25, 40, 86, ("folk guitar",)),
    ("clean_guitar", "clean electric guitar", "plucked", 27, 40, 88, ("electric guitar",)),
    ("muted_guitar", "muted electric guitar", "plucked", 28, 40, 84, ()),
    ("overdriven_guitar", "overdriven guitar", "plucked", 29, 38, 86, ("distorted guitar", "rock guitar")),
    ("harp", "harp", "plucked", 46, 28, 100, ("lyre",)),
    ("banjo", "banjo", "plucked", 105, 48, 86, ("mandolin",)),
    ("upright_bass", "upright bass", "bass", 32, 28, 60, ("double bass", "acoustic bass", "contrabass")),
    ("electric_bass", "electric bass", "bass", 33, 28, 60, ("bass", "bass guitar")),
    ("synth_bass", "synth bass", "bass", 38, 24, 60, ("analog bass",)),
    ("sub_bass", "sub bass", "bass", 39, 22, 55, ("808 bass", "808")),
    ("reese_bass", "reese bass", "bass", 87, 24, 55, ("wobble bass",)),
    ("saw_lead", "saw lead", "lead", 81, 45, 98, ("lead synth", "synth lead", "supersaw")),
    ("square_lead", "square lead", "lead", 80, 45, 98, ("chiptune lead",)),
    ("soft_lead", "soft lead", "lead", 85, 45, 98, ("sine lead", "theremin", "whistle lead")),
    ("pluck_synth", "synth pluck", "lead", 84, 45, 98, ("pluck", "arp synth")),
    ("stab_synth", "chord stab", "lead", 62, 45, 90, ("house stab",)),
    ("warm_pad", "warm pad", "pad", 89, 36, 90, ("pad", "analog pad")),
    ("glass_pad", "glass pad", "pad", 92, 40, 96, ("wavetable pad",)),
    ("dark_pad", "dark pad", "pad", 95, 30, 84, ("drone",)),
    ("string_ensemble", "string ensemble", "strings", 48, 36, 96, ("strings", "violins", "cellos", "orchestra")),
    ("pizzicato", "pizzicato strings", "strings", 45, 40, 90, ()),
    ("choir", "choir", "voice", 52, 43, 84, ("voices", "aahs")),
    ("brass_section", "brass section", "brass", 61, 40, 84, ("brass", "horns", "trumpets", "trombones")),
    ("flute", "flute", "wind", 73, 60, 96, ("recorder", "whistle")),
    ("accordion", "accordion", "wind", 21, 45, 90, ("harmonica",)),
    ("kit_acoustic", "acoustic drum kit", "drums", 0, 35, 81, ("drums", "drum kit", "acoustic drums")),
    ("kit_808", "808 drum machine", "drums", 25, 35, 81, ("808 drums", "trap drums")),
    ("kit_909", "909 drum machine", "drums", 24, 35, 81, ("909", "house drums", "electronic drums", "drum machine")),
    ("kit_brushes", "brushes", "drums", 40, 35, 81, ("brush kit", "brushed drums")),
    ("kit_dusty", "dusty drum kit", "drums", 8, 35, 81, ("lo-fi drums", "boom bap drums")),
    ("kit_cinematic", "cinematic percussion", "drums", 48, 35, 81, ("taiko", "orchestral percussion", "timpani")),
    ("riser", "riser", "effects", 97, 0, 127, ("sweep",)),
)
INSTRUMENTS: dict[str, InstrumentInfo] = {row[0]: InstrumentInfo(*row) for row in _ROWS}


def find_instrument(name: str) -> InstrumentInfo | None:
    """The instrument a name means (id, title or alias, any case), or None."""
    text = name.casefold().replace("_", " ").replace("-", " ").strip()
    for info in INSTRUMENTS.values():
        names = (info.id.replace("_", " "), info.title, *info.aliases)
        if text in {n.casefold().replace("-", " ") for n in names}:
            return info
    return None


# Drum voices of every kit and the General MIDI percussion key that stands for each in a score.
DRUM_VOICES: dict[str, int] = {
    "kick": 36, "snare": 38, "rim": 37, "clap": 39, "brush": 40, "hat": 42, "pedal": 44, "open": 46,
    "tom_lo": 45, "tom_mid": 47, "tom_hi": 50, "crash": 49, "ride": 51, "bell": 53, "tambourine": 54,
    "cowbell": 56, "bongo_hi": 60, "bongo_lo": 61, "conga_hi": 63, "conga_lo": 64, "shaker": 70,
    "clave": 75, "triangle": 81, "snap": 76, "impact": 57, "reverse": 55,
}  # fmt: skip
