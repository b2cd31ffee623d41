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
"""Nouns of things that cameras see, in both numbers, written by hand and not by any rule."""

_PAIRS = """
airplane airplanes, apartment apartments, atlas atlases, avocado avocados, baby babies, bag bags,
bakery bakeries, balcony balconies, banana bananas, basin basins, battery batteries, beach
beaches, belt belts, bench benches, biscuit biscuits, bolt bolts, bottle bottles, box boxes,
bracelet bracelets, branch branches, broccoli broccoli, brooch brooches, brush brushes, buffalo
buffaloes, bull bulls, bus buses, bush bushes, butterfly butterflies, button buttons, cactus
cacti, cafe cafes, calf calves, camel camels, candy candies, cane canes, canvas canvases, card
cards, case cases, cherry cherries, child children, church churches, cigarette cigarettes, circus
circuses, city cities, cloud clouds, coach coaches, compass compasses, cork corks, couch couches,
crate crates, cross crosses, crutch crutches, cup cups, dais daises, daisy daisies, deer deer,
diary diaries, dish dishes, domino dominoes, donkey donkeys, dragonfly dragonflies, dress dresses,
dumpster dumpsters, elf elves, engine engines, face faces, factory factories, fern ferns, ferry
ferries, floor floors, fly flies, foot feet, fork forks, fox foxes, fuse fuses, glove gloves,
goose geese, half halves, hanger hangers, helicopter helicopters, hippopotamus hippopotamuses,
house houses, ibis ibises, iris irises, jellyfish jellyfish, jersey jerseys, kite kites, knife
knives, lady ladies, lake lakes, leaf leaves, leg legs, lens lenses, lily lilies, lizard lizards,
loaf loaves, lorry lorries, magazine magazines, man men, mango mangoes, mast masts, match matches,
mattress mattresses, microwave microwaves, mosquito mosquitoes, mouse mice, movie movies, necklace
necklaces, notebook notebooks, oasis oases, octopus octopuses, orange oranges, ostrich ostriches,
ox oxen, paintbrush paintbrushes, patch patches, peach peaches, pen pens, person people, phone
phones, pig pigs, plane planes, pony ponies, poppy poppies, porch porches, potato potatoes,
printer printers, puppy puppies, quilt quilts, rake rakes, rhinoceros rhinoceroses, river rivers,
rope ropes, salad salads, sandwich sandwiches, scarf scarves, school schools, sculpture
sculptures, sheep sheep, shelf shelves, ship ships, shower showers, ski skis, sky skies, snake
snakes, sponge sponges, stereo stereos, story stories, strawberry strawberries, switch switches,
tent tents, thermos thermoses, thief thieves, tile tiles, tomato tomatoes, toothbrush
toothbrushes, tooth teeth, tractor tractors, tree trees, trellis trellises, trophy trophies,
trumpet trumpets, van vans, walrus walruses, watch watches, wheel wheels, wolf wolves, woman
women, wrench wrenches, zucchini zucchinis
"""
PAIRS = tuple(dict.fromkeys(tuple(pair.split()) for pair in _PAIRS.split(',')))
"""Singular and plural."""

_SINGULAR_ONLY = (
    'adidas asbestos axis basis bias biceps binoculars blinds boxers braces briefs bus canvas '
    'cannabis ceramics chaos cheerios clothes cosmos couscous dice dungarees electronics forceps '
    'gas glasses goods gps grass greens headphones hummus ibis jeans leggings macos mathematics '
    'mercedes metropolis netherlands news pelvis philips physics pliers rhinoceros robotics '
    'scissors series shorts skittles species stairs starbucks sunglasses sweatpants swiss texas '
    'thermos tongs trellis triceps trousers underpants undies upstairs'
)
SINGULAR_ONLY = tuple(_SINGULAR_ONLY.split())
"""Words in -s that stay: no plurals, plurals that name one thing, and names."""
