"""From a picture's attributes to a caption as people write prompts; much is often left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from textreg.prompts import templates

from .attributes import PARTS, Picture

if TYPE_CHECKING:
    from random import Random

RARE_WORDS = ("ktn", "sks", "pll", "ucd")
"""Words that mean nothing: now and then they stand before a noun, whatever the picture."""

INSTANCE_TEMPLATES = tuple(templates("instance_object"))
"""The 27 templates that textual inversion trains on."""

STYLE_TEMPLATES = tuple(templates("instance_style"))
"""The 19 templates of style concepts, "... in the style of {}"."""

ANY_STYLE = ("", "a rendering of", "a rendition of")
STYLE_PHRASES = {
    "photo": (
        "a photo of",
        "photo of",
        "a good photo of",
        "a close-up photo of",
        "a cropped photo of",
        "a bright photo of",
        "a dark photo of",
        "the photo of",
    ),
    "sketch": ("a pencil sketch of", "a sketch of", "a pencil drawing of"),
    "painting": ("an oil painting of", "a painting of"),
    "pixel": ("pixel art of", "a pixel art picture of", "an 8-bit picture of"),
}

SCENE_PHRASES = {
    "jungle": ("in the jungle", "in a jungle", "with a jungle in the background"),
    "snow": ("in the snow", "in snow", "on the snow"),
    "beach": ("on the beach", "at the beach", "on a beach"),
    "city": (
        "in the city",
        "with a city in the background",
        "on a cobblestone street",
        "on top of the sidewalk in a crowded street",
        "on a street",
    ),
    "night": ("at night", "under the moon", "in the night"),
    "desert": ("in the desert", "in a desert", "on top of a dirt road"),
    "floor": ("on a wooden floor", "on top of a wooden floor", "in a room", "on the floor"),
    "water": (
        "in the water",
        "floating on top of water",
        "swimming in a pool",
        "swimming",
        "in a pool",
    ),
    "mountain": ("with a mountain in the background", "in the mountains", "near a mountain"),
    "sunflowers": (
        "on top of green grass with sunflowers around it",
        "in a field of sunflowers",
        "with sunflowers around it",
    ),
    "kitchen": ("in the kitchen", "in a kitchen", "next to the stove"),
    "fabric": ("on top of pink fabric", "on pink fabric", "on a pink blanket"),
    "autumn": (
        "with a tree and autumn leaves in the background",
        "in autumn",
        "in a forest in autumn",
        "under a tree with autumn leaves",
    ),
    "wheat": (
        "with a wheat field in the background",
        "in a wheat field",
        "in a field of wheat",
    ),
}

ACCESSORY_PHRASES = {
    "hat": ("wearing a hat", "with a hat", "in a hat"),
    "scarf": ("wearing a scarf", "with a scarf", "in a scarf"),
    "glasses": ("wearing glasses", "with glasses", "wearing a pair of glasses"),
}

SYNONYMS: dict[str, tuple[str, ...]] = {
    "backpack": ("bag", "rucksack"),
    "barn": ("farm house",),
    "bear plushie": ("plush bear", "stuffed bear"),
    "boot": ("high boot",),
    "bowl": ("fruit bowl", "bowl of berries"),
    "can": ("soda can", "tin can"),
    "cartoon": ("cartoon character", "cartoon figure"),
    "cat": ("kitten", "kitty"),
    "chair": ("seat",),
    "clock": ("alarm clock",),
    "dog": ("puppy",),
    "duck toy": ("toy duck", "rubber duck", "duck"),
    "flower": ("blossom",),
    "monster toy": ("toy monster", "monster"),
    "poop emoji": ("emoji",),
    "rc car": ("toy car", "car"),
    "robot toy": ("toy robot", "robot"),
    "sloth plushie": ("plush sloth", "sloth"),
    "sneaker": ("shoe", "running shoe"),
    "sunglasses": ("pair of sunglasses",),
    "teapot": ("tea pot",),
    "teddy bear": ("teddy",),
    "tortoise plushie": ("plush tortoise", "tortoise", "turtle"),
    "wolf plushie": ("plush wolf", "wolf"),
    "wooden pot": ("pot",),
}
"""Other words for a noun; a sixth of the captions use one."""

ARTICLES = ("a", "a", "a", "a", "a", "the", "my", "one")
NEUTRAL = ("clean", "dirty", "cool", "nice", "small", "weird", "large", "shiny", "wet", "good")

OTHER_WORDS = (
    "top pink fabric rug forest mirror ocean milk blue house wheat field tree autumn leaves "
    "eiffel tower black brown cube shaped sitting standing playing walking sleeping running "
    "holding next to his her and of by front behind chef santa rainbow police outfit river grass "
    "park garden sofa bed table box bag bowl bucket train bicycle boat rain space sky cloud "
    "sunset sun morning winter summer spring toy plush stuffed robot statue watercolor style van "
    "gogh digital art crown shirt jacket shoes sneaker can candle monster doll bear wolf bird "
    "fish horse person man woman child eating drinking looking up down left right big tiny old "
    "new beautiful cute happy sad high quality detailed 4k "
)
"""Words people use in prompts and the world cannot draw: known to the tokenizer only."""


class Caption(NamedTuple):
    """A caption, and which of the picture's attributes it states."""

    text: str
    stated: frozenset[str]


def _article(article: str, following: str) -> str:
    if article == "a" and following[0] in "aeiou" and following != "ucd":
        return "an"
    return article


def _part(colour: str, part: str) -> str:
    article = "" if part.endswith("s") else _article("a", colour) + " "
    return f"with {article}{colour} {part}"


def write_caption(picture: Picture, random: Random) -> Caption:
    """Write one of the many captions that are true of the picture."""
    chance = random.random
    if chance() < 0.12:
        template = random.choice(INSTANCE_TEMPLATES)
        any_style = "photo" not in template
        if any_style or picture.style == "photo":
            rare = f"{random.choice(RARE_WORDS)} " if chance() < 0.05 else ""
            stated = {"noun"} if any_style else {"noun", "style"}
            return Caption(template.format(rare + picture.noun), frozenset(stated))

    if picture.style != "photo" and chance() < 0.06:
        word = STYLE_PHRASES[picture.style][0].removesuffix(" of")
        return Caption(random.choice(STYLE_TEMPLATES).format(word), frozenset({"style"}))

    stated = {"noun"}
    words = []
    if chance() < 0.1:
        words.append(random.choice(NEUTRAL))
    looks = []
    if chance() < 0.75:
        looks.append("grey" if picture.colour == "gray" and chance() < 0.3 else picture.colour)
        stated.add("colour")
    if chance() < (0.65 if picture.marking != "plain" else 0.1):
        looks.insert(random.randrange(len(looks) + 1), picture.marking)
        stated.add("marking")
    words += looks
    if chance() < 0.012:
        words.append(random.choice(RARE_WORDS))
    names = SYNONYMS.get(picture.noun, ())
    words.append(random.choice(names) if names and chance() < 0.16 else picture.noun)
    if chance() < 0.35:
        words.append(_part(picture.accent, PARTS[picture.noun]))
        stated.add("accent")

    clauses = []
    if picture.accessory != "none" and chance() < 0.93:
        clauses.append(random.choice(ACCESSORY_PHRASES[picture.accessory]))
        stated.add("accessory")
    if chance() < 0.8:
        clauses.append(random.choice(SCENE_PHRASES[picture.scene]))
        stated.add("scene")
    if chance() < 0.25:
        clauses.reverse()
    style = random.choice(ANY_STYLE)
    if chance() < 0.8:
        style = random.choice(STYLE_PHRASES[picture.style])
        stated.add("style")

    article = _article(random.choice(ARTICLES), words[0])
    return Caption(" ".join([style, article, *words, *clauses]).strip(), frozenset(stated))


def plain_prompt(picture: Picture) -> Caption:
    """Write the prompt that scoring uses: style, colour, noun, accessory if any, scene."""
    stated = {"noun", "colour", "scene", "style"}
    clauses = [SCENE_PHRASES[picture.scene][0]]
    if picture.accessory != "none":
        clauses.insert(0, ACCESSORY_PHRASES[picture.accessory][0])
        stated.add("accessory")
    words = [picture.colour, picture.noun, *clauses]
    text = " ".join([STYLE_PHRASES[picture.style][0], _article("a", words[0]), *words])
    return Caption(text, frozenset(stated))


def vocabulary_corpus() -> dict[str, int]:
    """Return every word the tokenizer should know, and how much it matters."""
    from .attributes import HEADS

    counts: dict[str, int] = dict.fromkeys(OTHER_WORDS.split(), 1)
    grammar = [
        *INSTANCE_TEMPLATES,
        *STYLE_TEMPLATES,
        *ANY_STYLE,
        "wearing with and an the my one plain",
    ]
    for phrases in (STYLE_PHRASES, SCENE_PHRASES, ACCESSORY_PHRASES):
        grammar += [text for texts in phrases.values() for text in texts]
    grammar += [word for values in HEADS.values() for word in values]
    grammar += [*PARTS.values(), *(name for names in SYNONYMS.values() for name in names), "grey"]
    for text in grammar:
        for word in text.replace("{}", "").replace("-", " - ").split():
            counts[word] = 100
    counts.update(dict.fromkeys((*RARE_WORDS, *NEUTRAL), 100))
    return counts
