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
airplane airplanes, ambulance ambulances, animal animals, ant ants, antenna antennas,
apartment apartments, apple apples, arm arms, armchair armchairs, atlas atlases, avocado
avocados,
axe axes, baby babies, backpack backpacks, badge badges, bag bags, bakery bakeries, balcony
balconies,
ball balls, balloon balloons, banana bananas, bandage bandages, bank banks, banner banners,
barrel barrels, basin basins, basket baskets, bat bats, bathtub bathtubs, battery batteries,
beach beaches, bear bears, bed beds, bee bees, bell bells, belt belts, bench benches,
bicycle bicycles, bike bikes, bird birds, biscuit biscuits, blanket blankets, blouse blouses,
board boards, boat boats, bolt bolts, bone bones, book books, bookcase bookcases, boot boots,
bottle bottles, boulder boulders, bowl bowls, box boxes, boy boys, bracelet bracelets,
branch branches, bridge bridges, bridge bridges, broccoli broccoli, brooch brooches, brush
brushes,
bucket buckets, buffalo buffaloes, building buildings, bulb bulbs, bull bulls, bun buns, bus
buses,
bush bushes, butterfly butterflies, button buttons, cabbage cabbages, cabinet cabinets,
cable cables, cactus cacti, cafe cafes, cage cages, cake cakes, calculator calculators, calf
calves,
camel camels, camera cameras, can cans, candle candles, candy candies, cane canes, canoe canoes,
canvas canvases, cap caps, car cars, card cards, carpet carpets, carriage carriages, carrot
carrots,
cart carts, case cases, cat cats, ceiling ceilings, chain chains, chair chairs, cherry cherries,
chest chests, child children, chimney chimneys, church churches, cigarette cigarettes,
circus circuses, city cities, cliff cliffs, clock clocks, cloud clouds, coach coaches, coat
coats,
coin coins, comb combs, compass compasses, computer computers, cone cones, container containers,
cookie cookies, cork corks, couch couches, cow cows, crab crabs, crane cranes, crate crates,
cross crosses, crosswalk crosswalks, crow crows, crutch crutches, cup cups, curb curbs,
curtain curtains, cushion cushions, dais daises, daisy daisies, deer deer, desk desks,
diary diaries, die dies, dish dishes, dog dogs, doll dolls, dolphin dolphins, domino dominoes,
donkey donkeys, doorknob doorknobs, door doors, dragonfly dragonflies, drawer drawers,
dress dresses, drill drills, drone drones, drum drums, duck ducks, dumpster dumpsters, ear ears,
egg eggs, elephant elephants, elf elves, engine engines, envelope envelopes, eraser erasers,
excuse excuses, eye eyes, face faces, factory factories, fan fans, faucet faucets, fence fences,
fern ferns, ferry ferries, fireplace fireplaces, flag flags, flashlight flashlights, floor
floors,
flower flowers, fly flies, foot feet, forklift forklifts, fork forks, fountain fountains, fox
foxes,
fridge fridges, frog frogs, fuse fuses, garage garages, gate gates, giraffe giraffes, girl girls,
glove gloves, goat goats, goose geese, grape grapes, guitar guitars, half halves, hammer hammers,
hamster hamsters, handbag handbags, handle handles, hanger hangers, hat hats, headache headaches,
headset headsets, hedge hedges, helicopter helicopters, helmet helmets, hen hens, hill hills,
hinge hinges, hippopotamus hippopotamuses, hoodie hoodies, hook hooks, horse horses, hose hoses,
house houses, hubcap hubcaps, hydrant hydrants, ibis ibises, insect insects, iris irises,
island islands, jacket jackets, jar jars, jellyfish jellyfish, jersey jerseys, jug jugs,
kettle kettles, key keys, keyboard keyboards, kite kites, knife knives, knob knobs, lady ladies,
ladder ladders, lake lakes, lamp lamps, lane lanes, laptop laptops, leaf leaves, leg legs,
lemon lemons, lens lenses, lily lilies, lion lions, lizard lizards, loaf loaves, locker lockers,
lorry lorries, machine machines, magazine magazines, man men, mango mangoes, map maps, mask
masks,
mast masts, mat mats, match matches, mattress mattresses, microscope microscopes,
microwave microwaves, mirror mirrors, mitten mittens, monkey monkeys, mop mops,
mosquito mosquitoes, motorcycle motorcycles, mountain mountains, mouse mice, mousse mousses,
movie movies, mug mugs, mushroom mushrooms, nail nails, napkin napkins, necklace necklaces,
needle needles, nest nests, newspaper newspapers, nose noses, notebook notebooks, nurse nurses,
oasis oases, octopus octopuses, onion onions, orange oranges, ostrich ostriches, oven ovens,
owl owls, ox oxen, paintbrush paintbrushes, painting paintings, pallet pallets, panda pandas,
parrot parrots, patch patches, path paths, paw paws, peach peaches, pedestrian pedestrians,
pen pens, pencil pencils, penguin penguins, person people, person persons, phone phones,
photo photos, piano pianos, pie pies, pier piers, pig pigs, pigeon pigeons, pillow pillows,
pipe pipes, pizza pizzas, plane planes, plant plants, plate plates, pole poles, pony ponies,
poppy poppies, porch porches, poster posters, potato potatoes, pot pots, printer printers,
puddle puddles, pump pumps, puppy puppies, purse purses, quilt quilts, rabbit rabbits,
raccoon raccoons, radio radios, railing railings, rake rakes, ramp ramps, refrigerator
refrigerators,
rhinoceros rhinoceroses, ring rings, river rivers, road roads, robot robots, rock rocks, roof
roofs,
rope ropes, rose roses, rug rugs, ruler rulers, sail sails, salad salads, sandwich sandwiches,
sausage sausages, saw saws, scarf scarves, school schools, scooter scooters, screen screens,
screwdriver screwdrivers, screw screws, sculpture sculptures, seat seats, selfie selfies,
sheep sheep, shelf shelves, ship ships, shirt shirts, shoe shoes, shop shops, shovel shovels,
shower showers, sidewalk sidewalks, sign signs, sink sinks, skateboard skateboards, ski skis,
skirt skirts, sky skies, smartphone smartphones, snail snails, snake snakes, sock socks, sofa
sofas,
soldier soldiers, spider spiders, sponge sponges, spoon spoons, squirrel squirrels, stapler
staplers,
statue statues, stereo stereos, stone stones, stool stools, story stories, stove stoves,
strawberry strawberries, street streets, suitcase suitcases, suv suvs, swan swans, switch
switches,
t-shirt t-shirts, table tables, taxi taxis, teacher teachers, tent tents, thermos thermoses,
thief thieves, tie ties, tiger tigers, tile tiles, tire tires, toaster toasters, toe toes,
tomato tomatoes, toothbrush toothbrushes, tooth teeth, towel towels, tower towers, toy toys,
tractor tractors, trailer trailers, train trains, tram trams, tray trays, tree trees,
trellis trellises, trolley trolleys, trophy trophies, truck trucks, trumpet trumpets, tulip
tulips,
tunnel tunnels, turtle turtles, umbrella umbrellas, van vans, vase vases, vehicle vehicles,
wall walls, wallet wallets, walrus walruses, wardrobe wardrobes, watch watches, whale whales,
wheelchair wheelchairs, wheel wheels, whistle whistles, window windows, wing wings, wire wires,
wolf wolves, woman women, worker workers, wrench wrenches, zebra zebras, zucchini zucchinis
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
