# Copyright 2026 ZegCLIP-ROS contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The things that a sentence about a picture names, by rules and a dictionary.

A chunker for captions, not for other text: a noun phrase is a run of adjectives, participles and
nouns, and its last noun is the head. Which of these a word can be is what LemmInflect knows
(https://github.com/bjascob/LemmInflect, MIT); captions are mostly in the present tense and so
plain that a few rules decide where it leaves a choice.
"""

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import pairwise
import re

from zegclip_core.text.phrases import standard_form

MAX_WORDS = 3
"""Words of the longest phrase: the head and what stands directly before it."""

_TOKEN = re.compile(r"[^\W_]+(?:[-'\u2019][^\W_]+)*|[^\w\s]")
_GENITIVE = re.compile(r"['\u2019](?:s\b|(?!\w))")
_CACHED = 50_000


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_DETERMINERS = _set(
    'a an the this that these those his her hers its my our your their another each every '
    'some any no both all several many few other one two twos three four five six seven eight '
    'nine ten eleven twelve dozen multiple various different certain assorted numerous more '
    'most own same single first second third half double next last whole such'
)
"""Before a phrase, and no part of it."""
_SINGULAR_DETERMINERS = _set('a an this that another each every one')
_BEFORE_PARTICIPLES = _set(
    'is are was were be been being am get gets getting got he she it they who which and while '
    'whilst when as by after before'
)
"""Before a verb in -ing or -ed rather than before a thing."""
_BEFORE_BASE = _set(
    'to do does did can could will would may might must shall should they who we i you not'
)
"""Before a verb in its base form."""
_BEFORE_NOUNS = _DETERMINERS | _set(
    'in on at with of from into onto over under above below beneath behind beside between '
    'among against along across around through near without like wearing'
)
"""Before a plural rather than before a verb in -s."""
_FUNCTION_WORDS = (
    _set(
        'of in on at with by for from into onto to over under above below beneath underneath '
        'behind beside besides between among amongst against along across around about after '
        'before during through throughout near next off out outside inside up down upon '
        'within without towards toward past beyond atop amid amidst like than as via per '
        'despite except since until and or but nor so yet if while whilst when where whereas '
        'because although though that which who whom whose what why how he she it they we i '
        'you him them us me himself herself itself themselves someone somebody something '
        'anyone anything everyone everything nobody nothing others is are was were be been '
        'being am has have had having do does did doing done can could will would may might '
        'must shall should not very too also just only even still almost nearly away forward '
        'forwards backward backwards ahead apart together alone again here there now then '
        'once overhead indoors outdoors upside downhill uphill well close left right each '
        'ready able full lots s t get gets getting got go goes went gone viz hard fast '
        'straight ever never often perhaps maybe instead rather onstage whatever let lets '
        'opposite plus up-close mid-air midair upside-down airborne aloft alongside downwards '
        'upwards'
    )
    | _BEFORE_PARTICIPLES
    | _BEFORE_BASE
)
"""Words that are in no phrase: prepositions, pronouns, auxiliaries, adverbs."""

_VERBS_IN_S = _set(
    'runs walks looks holds plays rides watches takes leaps climbs poses catches makes tries '
    'swims chases throws goes shows drives attempts hits lays kicks leans waits talks dances '
    'pushes lies falls reaches pulls uses raises blows laughs passes rests leads grinds stops '
    'bites helps stares moves smokes chews licks kisses floats touches turns dribbles '
    'approaches dives digs cuts spins gestures grabs works barks hikes sniffs picks hugs '
    'smiles jumps sits sleeps eats sings reads points performs carries wears crosses stands '
    'swings slides flies splashes surfs skates skateboards races flips lands leaves '
    'celebrates practices demonstrates prepares gets puts gives keeps begins starts seems '
    'appears tosses serves shoots rolls paddles crouches kneels squats balances fights '
    'wrestles pets crawls bends stretches checks enjoys feeds travels drinks faces backs '
    'smells waves hangs sticks'
)
"""Of nouns and verbs in -s those that are rather verbs behind a noun."""
_NOUNS_IN_ING = _set(
    'building swing railing clothing ring string ceiling wing wedding painting awning thing '
    'morning evening spring pudding icing earring sling stocking dwelling topping dressing '
    'lighting siding flooring paneling fencing bedding king piercing outcropping scaffolding'
)
_ADJECTIVES = _set(
    'fallen dead white black red brown blue green yellow grey gray pink purple orange tan '
    'beige gold golden silver maroon teal turquoise navy blond blonde brunette dark bright '
    'young old little small big large tall short long high low wide deep hot cold wet dry '
    'elderly male female asian african american german french chinese japanese indian british '
    'european canadian mexican english oriental colored coloured colorful round square flat '
    'plain wild public empty full open closed clear clean dirty rough smooth soft hard heavy '
    'main good nice cute pretty fancy teenage middle-aged aged bald shirtless bearded outdoor '
    'indoor upper lower inner outer front back rear hind side middle top bottom left right '
    'central plastic wooden metal concrete rural urban professional giant huge tiny double '
    'multicolored multi-colored inflatable military matching lush fake medium warm sharp '
    'vintage protective mobile homeless aerial pedestrian natural musical modern commercial '
    'antique classic newborn vertical horizontal portable pregnant miniature casual extreme '
    'ancient plush overweight special nude western local senior grand overcast'
)
"""Words that describe a head but are none, though a dictionary has some of them as nouns."""
_NO_THINGS = _set(
    'hold say hit wait pick take cut let make go catch fetch lecture phrase life embrace '
    'breath balance snack-time soccer tennis hockey golf rugby polo badminton lacrosse '
    'cricket gymnastics wrestling halloween christmas league derby set group couple pair '
    'front top side way background foreground picture photo photograph image view bunch lot '
    'number kind type sort variety piece part body row line edge middle center centre end '
    'bottom corner back rear day time night distance air area place scene shot direction '
    'position height length size shape color colour style bit spot amount collection series '
    'arrangement assortment selection display crowd team pile stack cluster bunches close-up '
    'closeup close up game sport match activity event action trick jump leap ride run walk '
    'look turn fall race play fun dance show competition performance practice motion movement '
    'midst case item object thing stuff something use care attention form base rest one two '
    'others shade sunlight sun-light left right inside outside half other total moment '
    'morning evening afternoon noon summer winter spring autumn dusk dawn sunset today work '
    'job conversation talk fight break interest help order attempt effort camera-shot level '
    'point surrounding location setting lead chance nap meal trip past course process world '
    'reflection pose name speed while mid midair mid-air'
)
"""Nouns that name no thing that has a place in a picture."""
_COMPOUNDS = frozenset(
    phrase.replace('_', ' ')
    for phrase in _set(
        'hot_dog teddy_bear ice_cream entry_way hello_kitty bean_bag ping_pong tank_top '
        'pony_tail monkey_bar flip_flop stuffed_animal horse_back cell_phone '
        'mountain_side drive_way walk_way hall_way side_walk water_way base_ball foot_ball '
        'basket_ball skate_board snow_board surf_board cross_walk jungle_gym see_saw '
        'high_chair t_shirt'
    )
)
"""Two words for one thing, whose second word alone would name another thing or none."""


_COLOURS = _set('red blue green yellow white black brown grey gray pink purple orange')
_UNKNOWN_NOUNS = _set('bar frosting log pan ref remote sailboard')
"""Of which LemmInflect knows only another class."""
_CANS = _set('trash garbage soda beer tin paint spray rubbish coke recycling')
"""Before a can that is a thing."""
_ONE_IN_S = _set('sports clothes sunglasses goods christmas tennis')
"""Words in -s behind which a compound goes on: ``sports car``."""
_OUTSIDE = _FUNCTION_WORDS | _DETERMINERS


@lru_cache(maxsize=_CACHED)
def noun_phrases(sentence: str) -> tuple[str, ...]:
    """Return the things that a sentence names, each in standard form and once, in their order.

    Of a thing with modifiers both the phrase, with at most ``MAX_WORDS`` words, and the head alone
    are returned, unless the head alone would be another thing (``hot dog``). Words that name no
    thing, such as ``group`` or ``background``, are left out.

    Example:
        >>> noun_phrases('A child in a pink dress is climbing up a set of stairs .')
        ('child', 'pink dress', 'dress', 'stairs')

    """
    text = _GENITIVE.sub(" ' ", sentence.lower())
    tokens = _TOKEN.findall(text)
    phrases = (phrase for run in _runs(tokens) for phrase in _phrases(run))
    return tuple(dict.fromkeys(phrases))


def _runs(tokens: Sequence[str]) -> Iterator[list[str]]:
    """Yield the runs of words that may be phrases; the last word of each may be its head."""
    run: list[str] = []
    opener = '.'  # What stands before the run.
    for word, following in pairwise([*tokens, '.']):
        is_can = word in ('can', 'cans') and bool(run) and run[-1] in _CANS
        goes_on = not _is_outside(following)
        if is_can or (not _is_outside(word) and _belongs(word, run, opener, goes_on)):
            run.append(word)
        else:
            yield run
            run, opener = [], word
    yield run


def _belongs(word: str, run: Sequence[str], opener: str, goes_on: bool) -> bool:
    """Return whether a word continues a run, or begins one behind the ``opener``.

    ``goes_on`` says whether the next word may be in the run as well.
    """
    classes = _classes(word)
    behind_head = bool(run) and _is_head(run[-1])
    if behind_head and _is_plural(run[-1]) and run[-1] not in _ONE_IN_S:
        return False
    if _is_participle(word):
        starts = bool(run) or opener in _DETERMINERS or 'ADJ' in classes
        starts &= bool(run) or opener not in _BEFORE_PARTICIPLES
        return goes_on and starts and not behind_head
    if word in _ADJECTIVES or not classes & {'NOUN', 'VERB', 'ADV'}:
        return not (behind_head and classes) or list(run) == ['light']
    if 'NOUN' not in classes:
        return 'ADJ' in classes and not behind_head
    return 'VERB' not in classes or not _is_verb(word, run, opener)


def _is_verb(word: str, run: Sequence[str], opener: str) -> bool:
    """Return whether a word that can be a noun or a verb is a verb here."""
    if not run:
        is_common = (word in _VERBS_IN_S or word in _base_verbs()) and opener not in _BEFORE_NOUNS
        return is_common or (opener in _BEFORE_BASE and not word.endswith('s'))
    if opener == 'in' and _COLOURS.issuperset(run):  # Man in red holds.
        return word in _VERBS_IN_S
    if not _is_head(run[-1]):
        return False
    if not _is_plural(word):
        return opener == 'and' and word in _base_verbs()  # Man and woman stand.
    return word in _VERBS_IN_S or opener in _SINGULAR_DETERMINERS


@cache
def _base_verbs() -> frozenset[str]:
    """Return the base forms of ``_VERBS_IN_S``."""
    from lemminflect import getLemma  # Reads its tables, which start-up does not need.

    return frozenset(getLemma(verb, 'VERB')[0] for verb in _VERBS_IN_S)


def _phrases(run: Sequence[str]) -> tuple[str, ...]:
    """Return the phrase that a run is, and its head alone."""
    if not run or not _is_head(run[-1]):
        return ()
    phrase = standard_form(' '.join(run[-MAX_WORDS:]))
    compound = standard_form(' '.join(run[-2:]))
    if compound in _COMPOUNDS:
        return phrase, compound
    head = standard_form(run[-1])
    return () if head in _NO_THINGS else (phrase, head)


@lru_cache(maxsize=_CACHED)
def _is_outside(word: str) -> bool:
    """Return whether a word is in no phrase, whatever stands beside it."""
    if word in _OUTSIDE or len(word) == 1 or not word[0].isalpha():
        return True
    return _classes(word) <= {'ADV'} and bool(_classes(word))


@lru_cache(maxsize=_CACHED)
def _is_participle(word: str) -> bool:
    """Return whether a word is a verb in -ing or -ed, and no common noun."""
    if word in _NOUNS_IN_ING or word in _ADJECTIVES:
        return False
    if word.endswith('ing') and len(word) > 4:
        return 'VERB' in _classes(word) or not _classes(word)
    if word.endswith('ed') and len(word) > 4:
        return 'NOUN' not in _classes(word)
    return False


@lru_cache(maxsize=_CACHED)
def _is_head(word: str) -> bool:
    """Return whether a word can be the noun of a phrase."""
    classes = _classes(word)
    known_other = bool(classes) and 'NOUN' not in classes
    return not (word in _ADJECTIVES or known_other or _is_participle(word))


@lru_cache(maxsize=_CACHED)
def _is_plural(word: str) -> bool:
    """Return whether a word is the plural of a noun, or a verb in -s.

    ``shorts`` is one, though its standard form is the same.
    """
    from lemminflect import getLemma

    singular = getLemma(word, 'NOUN', lemmatize_oov=False) if word.endswith('s') else ()
    return standard_form(word) != word or word not in (*singular, word)[:1]


@lru_cache(maxsize=_CACHED)
def _classes(word: str) -> frozenset[str]:
    """Return what a word can be: ``NOUN``, ``VERB``, ``ADJ``, ``ADV``; nothing if not known."""
    from lemminflect import getAllLemmas  # Reads its tables, which start-up does not need.

    last = word.rpartition('-')[2]
    unknown = {'NOUN'} if standard_form(last) in _UNKNOWN_NOUNS else set()
    return frozenset(getAllLemmas(last)) | unknown
