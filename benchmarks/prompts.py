"""Prompts with one-token answers for measuring rankings: five kinds of behaviour that small models show."""

from __future__ import annotations

import random

# (prompt, what a larger model would say)
FACTS = [
    ("The Eiffel Tower is located in the city of", " Paris"),
    ("The capital of Japan is", " Tokyo"),
    ("The capital of Italy is the city of", " Rome"),
    ("The capital of England is the city of", " London"),
    ("The largest planet in the solar system is", " Jupiter"),
    ("Water freezes at zero degrees", " Celsius"),
    ("The opposite of hot is", " cold"),
    ("The first president of the United States was George", " Washington"),
    ("The chemical symbol H stands for the element", " hydrogen"),
    ("The Great Wall is a famous landmark in", " China"),
    ("Bees fly from flower to flower to make", " honey"),
    ("The theory of relativity was developed by Albert", " Einstein"),
]
AGREEMENT = [
    ("The keys to the old cabinet", " are"),
    ("The boys who live next to the teacher", " are"),
    ("The pictures on the wall of the room", " are"),
    ("The dog that chased the cats", " was"),
    ("The cars in front of the house", " were"),
    ("The author of these books", " is"),
    ("The trees behind the old school", " are"),
    ("The woman with the two children", " was"),
    ("My friends from the small town", " are"),
    ("The price of the tickets", " is"),
]
LISTS = [
    ("1. Get some apples.\n2. Get some oranges.\n", "3"),
    ("1. Wash the car.\n2. Feed the dog.\n3. Water the plants.\n", "4"),
    ("Monday, Tuesday, Wednesday,", " Thursday"),
    ("January, February, March,", " April"),
    ("one, two, three, four,", " five"),
    ("A, B, C, D,", " E"),
    ("Spring, summer, autumn,", " winter"),
    ("first, second, third,", " fourth"),
    ("Friday, Saturday,", " Sunday"),
    ("May, June, July,", " August"),
]
_NAMES = ["Mary", "John", "Tom", "Anna", "David", "Sarah", "James", "Emma", "Paul", "Lisa", "Peter", "Kate"]
_PLACES = ["store", "park", "school", "office", "station", "restaurant"]
_THINGS = ["drink", "book", "ball", "letter", "present", "ring"]
_WORDS = [
    "apple",
    "river",
    "stone",
    "cloud",
    "music",
    "paper",
    "garden",
    "silver",
    "window",
    "yellow",
    "table",
    "horse",
]


def prompts(seed: int = 0) -> dict[str, list[tuple[str, str]]]:
    """Prompts and answers by kind; the generated ones depend on ``seed`` alone."""
    rng = random.Random(seed)
    indirect_object, induction = [], []
    for place, thing in zip(_PLACES * 2, _THINGS * 2, strict=True):
        giver, receiver = rng.sample(_NAMES, 2)
        prompt = f"When {receiver} and {giver} went to the {place}, {giver} gave a {thing} to"
        indirect_object.append((prompt, f" {receiver}"))
    for _ in range(10):
        words = rng.sample(_WORDS, 5)
        induction.append((" ".join([*words, *words[:3]]), f" {words[3]}"))
    return {
        "indirect object": indirect_object,
        "facts": FACTS,
        "induction": induction,
        "lists": LISTS,
        "agreement": AGREEMENT,
    }
