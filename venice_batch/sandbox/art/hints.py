"""Choose motif and colours by the words of a prompt."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

from venice_batch.sandbox.art.palettes import PALETTES, Palette

_FREE = ("hills", "bauhaus", "ribbons", "mosaic", "fronds", "bloom", "still", "sea", "planet")
"""Motifs for prompts without such a word."""

_SCENE_WORDS: Mapping[str, str] = {
    "hills": "mountain mountains hill hills valley desert dune dunes canyon alps peak peaks landscape misty field"
    " fields vineyard meadow volcano road train glacier",
    "sea": "sea ocean beach lake waves wave coast harbour harbor island lighthouse sail sailboat ship boat whale"
    " fishing reef surf horizon river",
    "city": "city skyline street skyscraper tokyo york building buildings architecture rooftops urban room office"
    " neon robot cyberpunk futuristic traffic market",
    "canal": "gondola canal venice venetian bridge palazzo piazza facade facades carnival",
    "forest": "forest tree trees woods pine pines fox deer owl wolf cabin snowfall bear birch christmas",
    "planet": "planet space galaxy stars star astronaut moonrise nebula cosmos comet orbit satellite aurora telescope"
    " eclipse",
    "bauhaus": "poster isometric geometric bauhaus minimalist logo icon pattern toy abstract illustration chess",
    "ribbons": "silk flow flowing dream wind dance smoke fabric dancer music jazz gradient kite kites spiral",
    "fronds": "botanical leaf leaves fern plant plants jungle garden palm herbs greenhouse bamboo",
    "mosaic": "glass stained cathedral crystal mosaic kaleidoscope gem butterfly dragonfly peacock church window",
    "bloom": "flower flowers rose tulip tulips bloom blossom blossoms peony orchid sunflower sunflowers dahlia lotus"
    " bee wreath snowflake",
    "still": "watch product bowl vase cup coffee tea bread fruit bottle table ceramic still lemons lemon soup teapot"
    " kitchen pumpkin pumpkins apples books candle basket cat violin",
}
_MOOD_WORDS: Mapping[str, str] = {
    "night": "night hour moon moonlit midnight stars dark nocturne lantern lanterns",
    "blue": "blue navy cobalt indigo",
    "dawn": "dawn sunrise morning",
    "sunset": "sunset dusk evening",
    "autumn": "autumn fall october november harvest pumpkin pumpkins maple",
    "winter": "winter snow snowy ice icy frost frozen snowfall glacier arctic december january",
    "spring": "spring april may blossom blossoms easter lamb",
    "green": "green forest jungle moss emerald",
    "red": "red crimson scarlet volcano fire",
    "gold": "gold golden desert dune dunes amber wheat honey sunflower sunflowers sand",
    "neon": "neon cyberpunk futuristic synthwave disco",
    "sea": "sea ocean teal turquoise underwater reef",
    "pink": "pink rose peony cherry",
    "lavender": "lavender purple violet lilac",
    "aurora": "aurora borealis northern",
    "day": "summer noon day sunny bright july sky",
    "minimal": "minimalist marble studio white luxury",
}
_BY_WORD = {word: scene for scene, words in _SCENE_WORDS.items() for word in words.split()}
_MOOD_BY_WORD = {word: mood for mood, words in _MOOD_WORDS.items() for word in words.split()}


def motif(prompt: str, rng: random.Random) -> str:
    """Return the motif for a prompt: the first that a word suggests, else a random one."""
    found = [_BY_WORD[word] for word in _words(prompt) if word in _BY_WORD]
    if not found:
        return rng.choice(_FREE)
    # Places before the abstract: a "minimalist poster of a bridge" shows the bridge.
    return next((scene for scene in found if scene != "bauhaus"), found[0])


def palette(prompt: str, rng: random.Random) -> Palette:
    """Return colours for a prompt: a random palette among those that fit most of its words."""
    moods = {_MOOD_BY_WORD[word] for word in _words(prompt) if word in _MOOD_BY_WORD}
    best = max(len(moods & candidate.moods) for candidate in PALETTES)
    fitting = [candidate for candidate in PALETTES if len(moods & candidate.moods) == best]
    return rng.choice(fitting)


def _words(prompt: str) -> list[str]:
    return re.findall(r"[a-z]+", prompt.lower())
