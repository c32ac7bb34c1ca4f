"""Formulas of an answer are MathML, made by a file that only such an answer loads; what is no formula stays text."""

from __future__ import annotations

import json

from tests.contract.page.test_accessibility import OVERFLOW, clean, layouts
from tests.contract.page.world import Shown, World

WHOLE = r"""Let $x^2$ cost $5 or $6, and \(\sqrt{2}\) be $\wrong{x}$.

$$
\begin{aligned} a &= \frac{1}{2} \\ &= \sum_{i=1}^{n} x_i + y_1 + y_2 + y_3 + y_4 + y_5 + y_6 + y_7 \end{aligned}
$$

\[
c
- d
\]

A longer one is $x_1 + x_2 + x_3 + x_4 + x_5 + x_6 + x_7 + x_8 + x_9 + x_{10} + x_{11} = \sum_{i=1}^{11} x_i$, \[z\]
"""
MATHML = "http://www.w3.org/1998/Math/MathML"
MADE = f"""[...document.querySelectorAll(".answer .text math")]
  .every((one) => [one, ...one.querySelectorAll("*")].every((each) => each.namespaceURI === {json.dumps(MATHML)}))"""

SLANTED = """[...new Set([...document.querySelectorAll(".answer .text mi")].map((one) => {
  const { textTransform, fontStyle } = getComputedStyle(one);
  return `${textTransform} ${fontStyle}`;
}))]"""
"""How letters are drawn: without a font for mathematics, the slanted signs that stand for them would be missing."""


def small(shown: Shown) -> None:
    """Asks a model without documents, which says what it is told to."""
    shown.page.until("document.querySelector('.chooser select').value !== ''")
    shown.page.choose(".chooser select", "small")


def loaded(shown: Shown) -> list[str]:
    shown.page.settle()
    return [url for url in shown.page.requests if "/assets/mathml-" in url]


def test_formulas_are_mathml_once_an_answer_has_some(world: World) -> None:
    world.engine.says["Calculate"] = WHOLE
    with world.page() as shown:
        small(shown)
        shown.ask("Pay $5 and $6.")
        shown.answered()
        assert shown.text(".answer .text") == "You asked: Pay $5 and $6."
        assert loaded(shown) == []
        shown.ask("Calculate.")
        shown.answered(2)
        shown.there(".answer .text math mtd", "a")
        assert shown.count(".answer .text math") == 6
        assert shown.page.evaluate(MADE)
        assert shown.page.evaluate(SLANTED) == ["none italic"]
        assert shown.count(".formula math[display=block]") == 3
        assert shown.count(".formula.wide math") == 1
        assert shown.text(".answer:last-of-type .text p").startswith("Let x2 cost $5 or $6, and 2 be ")
        assert shown.text(".answer .text code") == r"$\wrong{x}$"
        assert len(loaded(shown)) == 1
        shown.page.evaluate(
            "navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }; true"
        )
        shown.click("[aria-label='Copy the answer']")
        shown.page.until("window.copied")
        assert shown.page.evaluate("window.copied") == WHOLE
        assert shown.page.complaints == []
        again = shown.page.evaluate("location.href")
        shown.page.open(again)
        shown.answered(2)
        shown.page.until("document.querySelectorAll('.answer .text math').length === 6")


def test_an_unfinished_formula_is_text(world: World) -> None:
    world.engine.says["Half of it"] = "It is $x" + "^2" * 20 + " and no more than that, which is the end of it."
    world.engine.says["The first half"] = "**It is $x_1$ and $\\frac{" + "y" * 60 + "}{2}$.**"
    world.engine.half.clear()
    with world.page() as shown:
        small(shown)
        shown.ask("Half of it.")
        shown.answered()
        assert shown.text(".answer .text") == world.engine.says["Half of it"]
        world.does("clear")
        try:
            shown.ask("The first half.")
            shown.there(".answer[aria-busy=true] math", "x1")
            shown.there(".answer[aria-busy=true]", "$\\frac{yy")
            assert shown.count(".answer math") == 1
        finally:
            world.does("set")
        shown.answered(2)
        shown.there(".answer math mfrac", "y" * 60)


def test_formulas_stay_as_they_are_written_if_their_file_does_not_load(world: World) -> None:
    world.engine.says["Without"] = "It is $x^2$ and \\[y\\]"
    with world.page() as shown:
        small(shown)
        shown.page.ask("Network.setBlockedURLs", urls=["*/assets/*"])
        shown.ask("Without.")
        shown.answered()
        assert shown.text(".answer .text") == "It is $x^2$ and \\[y\\]"
        assert shown.count(".answer .text code") == 2


@layouts
def test_axe_finds_nothing(world: World, axe: str, width: int, language: str) -> None:
    world.engine.says["Calculate"] = WHOLE
    with world.page(width=width, language=language) as shown:
        small(shown)
        shown.ask("Calculate.")
        shown.answered()
        shown.there(".answer .text math mtd", "a")
        clean(shown, axe)
        assert shown.page.evaluate(OVERFLOW) == 0
        inside = """[...document.querySelectorAll(".answer math")].every((one) => {
          const { left, right } = (one.closest(".formula") ?? one).getBoundingClientRect();
          return left >= 0 && right <= innerWidth;
        })"""
        assert shown.page.evaluate(inside)
