"""The words of the starter world: nouns, adjectives, names and towns in English and Spanish.

Every Spanish noun carries its gender and every adjective both of its forms, so that a phrase can only come out
in agreement. Nothing here knows a sentence, a question or a file. All towns and people are invented.
"""

from dataclasses import dataclass
from typing import Literal

Language = Literal["eng", "spa"]
Gender = Literal["m", "f"]
LANGUAGES: tuple[Language, ...] = ("eng", "spa")
"""ISO 639-3 codes, in the order in which everything is written."""


@dataclass(frozen=True, slots=True)
class Noun:
    """A thing with an English name, a Spanish name and the Spanish gender."""

    eng: str
    spa: str
    gender: Gender


@dataclass(frozen=True, slots=True)
class Adjective:
    """A quality: one English form, a masculine and a feminine Spanish one."""

    eng: str
    masculine: str
    feminine: str

    def spa(self, gender: Gender) -> str:
        """The form that agrees with a noun of `gender`."""
        return self.masculine if gender == "m" else self.feminine


@dataclass(frozen=True, slots=True)
class Name:
    """A person's first name and its grammatical gender in Spanish."""

    text: str
    gender: Gender


def _nouns(table: str) -> tuple[Noun, ...]:
    """`english spanish gender` triples, separated by commas."""
    nouns = []
    for entry in table.split(","):
        eng, spa, gender = entry.split()
        nouns.append(Noun(eng, spa, "m" if gender == "m" else "f"))
    return tuple(nouns)


def _adjectives(table: str) -> tuple[Adjective, ...]:
    """`english masculine [feminine]`, separated by commas; one Spanish form serves both genders when invariable."""
    adjectives = []
    for entry in table.split(","):
        eng, masculine, *feminine = entry.split()
        adjectives.append(Adjective(eng, masculine, feminine[0] if feminine else masculine))
    return tuple(adjectives)


OBJECTS = _nouns(
    "ball pelota f, kite cometa f, book libro m, hat sombrero m, key llave f, lamp lámpara f, cup taza f,"
    "box caja f, bell campana f, drum tambor m, boat barco m, coat abrigo m, scarf bufanda f, ring anillo m,"
    "clock reloj m, basket cesta f, candle vela f, flag bandera f, flute flauta f, mirror espejo m,"
    "rope cuerda f, spoon cuchara f, pencil lápiz m, map mapa m, coin moneda f, ladder escalera f,"
    "blanket manta f, bottle botella f, violin violín m, brush cepillo m"
)
PLACES = _nouns(
    "garden jardín m, kitchen cocina f, park parque m, library biblioteca f, market mercado m, school escuela f,"
    "forest bosque m, harbour puerto m, museum museo m, station estación f, tower torre f, square plaza f,"
    "barn granero m, bakery panadería f, castle castillo m, cave cueva f, theatre teatro m, hotel hotel m,"
    "valley valle m, house casa f"
)
ANIMALS = _nouns(
    "cat gato m, dog perro m, rabbit conejo m, parrot loro m, turtle tortuga f, horse caballo m, goat cabra f,"
    "hen gallina f, duck pato m, frog rana f, mouse ratón m, sheep oveja f, cow vaca f, donkey burro m"
)
FOODS = _nouns(
    "soup sopa f, bread pan m, cheese queso m, rice arroz m, honey miel f, fish pescado m, cake tarta f,"
    "chocolate chocolate m, butter mantequilla f, jam mermelada f, salad ensalada f, yogurt yogur m,"
    "meat carne f, pasta pasta f, fruit fruta f, corn maíz m"
)
COLOURS = _adjectives(
    "red rojo roja, blue azul, green verde, yellow amarillo amarilla, white blanco blanca, black negro negra,"
    "grey gris, brown marrón, pink rosa, purple morado morada, golden dorado dorada, orange naranja"
)
QUALITIES = _adjectives(
    "old viejo vieja, new nuevo nueva, big grande, small pequeño pequeña, quiet tranquilo tranquila,"
    "pretty bonito bonita, dark oscuro oscura, clean limpio limpia, cold frío fría, strange extraño extraña"
)
JOBS = _adjectives(
    "baker panadero panadera, doctor médico médica, teacher maestro maestra, farmer granjero granjera,"
    "cook cocinero cocinera, painter pintor pintora, singer cantante, dancer bailarín bailarina, pilot piloto,"
    "sailor marinero marinera, gardener jardinero jardinera, carpenter carpintero carpintera,"
    "nurse enfermero enfermera, writer escritor escritora, judge juez jueza, miner minero minera,"
    "dentist dentista, journalist periodista"
)
"""Jobs agree with the person like adjectives do."""
NAMES = tuple(
    [Name(n, "f") for n in ("Mila Lena Nora Vera Ada Clara Elsa Greta Julia Lola Marta Nadia Paula Sara Tania Emma"
                            " Alba Celia Diana Olga").split()]
    + [Name(n, "m") for n in ("Omar Hugo Leo Bruno Dario Elio Gael Ivan Joel Luca Marco Nico Otto Pablo Simon Teo"
                              " Victor Adam David Erik").split()]
)  # fmt: skip
TOWNS = tuple(
    "Luma Sorvel Pinar Miraz Toval Berun Caldo Drena Eskol Farlo Gromar Halden Jorba Moldan Nerva Tarbo".split()
)
