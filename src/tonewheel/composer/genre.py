"""The style of a plan: its genre by name, or, for a foreign plan that says what it likes, the nearest by words."""

from __future__ import annotations

import re

from tonewheel.errors import UnknownName
from tonewheel.songs.plan import SongPlan
from tonewheel.styles.library import get_style, styles
from tonewheel.styles.schema import Style

# Genre words that name no style of ours, with the styles that come nearest, the best first.
_KIN: dict[str, tuple[str, ...]] = {
    "techno": ("house", "drum-and-bass"), "trance": ("house", "synth-pop"), "edm": ("house", "synth-pop"),
    "disco": ("house", "synth-pop"), "dance": ("house", "synth-pop"), "electronic": ("synth-pop", "house"),
    "electro": ("synth-pop", "house"), "dubstep": ("drum-and-bass", "trap"), "jungle": ("drum-and-bass",),
    "hip": ("lofi-hip-hop", "trap"), "rap": ("trap", "lofi-hip-hop"), "drill": ("trap",), "chill": ("lofi-hip-hop",),
    "r&b": ("soul-organ", "lofi-hip-hop"), "rnb": ("soul-organ", "lofi-hip-hop"), "soul": ("soul-organ", "funk"),
    "gospel": ("soul-organ",), "motown": ("soul-organ", "funk"),
    "funky": ("funk",), "afrobeat": ("funk", "reggae"), "dub": ("reggae",), "ska": ("reggae",),
    "metal": ("rock",), "punk": ("rock",), "indie": ("rock", "synth-pop"),
    "grunge": ("rock",), "alternative": ("rock",), "blues": ("soul-organ", "rock"), "country": ("folk",),
    "acoustic": ("folk",), "singer": ("folk",), "celtic": ("folk", "waltz"), "jazz": ("jazz-ballad", "bossa-nova"),
    "swing": ("jazz-ballad",), "latin": ("bossa-nova",), "samba": ("bossa-nova",),
    "classical": ("cinematic", "waltz"), "orchestral": ("cinematic",), "soundtrack": ("cinematic",),
    "film": ("cinematic",), "epic": ("cinematic",), "trailer": ("cinematic",), "piano": ("ambient", "jazz-ballad"),
    "drone": ("ambient",), "meditation": ("ambient",), "new": ("ambient",), "pop": ("synth-pop", "folk"),
    "80s": ("synth-pop",), "retro": ("synth-pop",), "ballad": ("jazz-ballad", "folk"), "lullaby": ("waltz", "folk"),
}  # fmt: skip


def style_for(plan: SongPlan) -> tuple[Style, str | None]:
    """The style of `plan.genre` and None, or the nearest style and a note that says so.

    Never fails for a genre: a plan from elsewhere may carry any words. Raises InvalidStyle when a
    style file of the user is broken.
    """
    try:
        return get_style(plan.genre), None
    except UnknownName:
        pass
    everything = styles()
    if not everything:
        raise UnknownName("style", plan.genre, (), param="genre")
    best = max(sorted(everything), key=lambda id_: _likeness(everything[id_], plan))
    style = everything[best]
    return style, f"no style is called {plan.genre!r}: arranged as {style.title} ({style.id}), the nearest"


def _words(*texts: str) -> set[str]:
    return {w for text in texts for w in re.findall(r"[\w&]+", text.casefold())}


def _likeness(style: Style, plan: SongPlan) -> float:
    genre = _words(plan.genre)
    around = genre | _words(*plan.moods, *(t for s in plan.sections for t in s.positive_styles))
    score = 4.0 * len(genre & _words(style.id, style.title, *style.aliases))
    score += 1.5 * len(genre & _words(*style.keywords)) + 0.5 * len(around & _words(*style.keywords))
    score += 1.0 * len(_words(*plan.moods) & _words(*style.moods))
    for word in genre:
        kin = _KIN.get(word, ())
        if style.id in kin:
            score += 3.0 - kin.index(style.id)
    if style.time_signature == plan.time_signature:
        score += 1.0
    if style.tempo.min <= plan.tempo <= style.tempo.max:
        score += 0.75
    return score
