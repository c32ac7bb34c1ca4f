"""Nothing lies over anything else, and only what is longer than its place scrolls, with scroll bars that are seen."""

from __future__ import annotations

from tests.contract.page.test_accessibility import press, texts
from tests.contract.page.world import Shown, World

BARS = """[...document.querySelectorAll('html, body, .frame, .column, .talk, .side')].filter((one) =>
  one.scrollHeight > one.clientHeight || one.offsetWidth - one.clientWidth > 1).map((one) => one.className)"""
OVERLAP = """(() => {
  const box = (name) => document.querySelector(name).getBoundingClientRect();
  const range = document.createRange();
  range.selectNodeContents(document.querySelector('TEXT'));
  const [one, other] = [range.getBoundingClientRect(), box('ICON')];
  return one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
})()"""
MARKERS = """[...document.querySelectorAll('.text li')].map((one) => {
  const list = one.parentElement.getBoundingClientRect(), item = one.getBoundingClientRect();
  return getComputedStyle(one).direction === 'rtl' ? list.right - item.right : item.left - list.left;
})"""


def overlap(shown: Shown, text: str, icon: str) -> bool:
    found: bool = shown.page.evaluate(OVERLAP.replace("TEXT", text).replace("ICON", icon))
    return found


def test_only_the_messages_scroll(world: World) -> None:
    world.engine.says["Scroll"] = "\n\n".join(f"Paragraph {n}." for n in range(60))
    with world.page() as shown:
        shown.ask("Scroll?")
        shown.answered()
        assert shown.page.evaluate("innerWidth - document.documentElement.clientWidth") == 0
        assert shown.page.evaluate(BARS) == []
        bar = "document.querySelector('.thread').offsetWidth - document.querySelector('.thread').clientWidth"
        assert shown.page.evaluate(bar) > 0, "a desktop shows scroll bars"


def test_icons_lie_beside_titles_and_bullets_are_in_view_in_either_direction(world: World) -> None:
    world.engine.says["Lists"] = "- one\n- واحد\n- two\n- اثنان\n"
    said = texts("ar")
    with world.page(language="ar") as shown:
        shown.ask("Lists in an English title that is far longer than the list is wide?")
        shown.answered()
        title = shown.page.evaluate("document.querySelector('.side a bdi').getBoundingClientRect().width")
        assert title > 150
        inner = """(() => {
          const link = document.querySelector('.side li a'), style = getComputedStyle(link);
          const icon = document.querySelector('.side li .icon').getBoundingClientRect();
          return link.getBoundingClientRect().left + parseFloat(style.paddingLeft) >= icon.right - 2;
        })()"""
        assert shown.page.evaluate(inner), "the title ends before the icon"
        assert [gap >= 20 for gap in shown.page.evaluate(MARKERS)] == [True] * 4
        shown.click(".side li button")
        press(shown, "dialog", said["share"])
        press(shown, "dialog", said["createLink"])
        shown.there("dialog .links li")
        assert not overlap(shown, "dialog .links .hint", "dialog .links .icon")
        inputs = "dialog .links input"
        box = f"document.querySelector('{inputs}').getBoundingClientRect()"
        icon = "document.querySelector('dialog .links .icon').getBoundingClientRect()"
        assert shown.page.evaluate(f"{icon}.right <= {box}.left + 1 || {icon}.left >= {box}.right - 1")
        assert shown.page.evaluate("!document.querySelector('.side dialog')")


def test_a_mark_stays_on_the_line_of_its_sentence(world: World) -> None:
    world.engine.says["Wrap"] = f"{'Many words of one sentence ' * 4}end. Nobody knows."
    lines = """(() => {
      const mark = document.querySelector('.text .mark'), { top } = mark.getBoundingClientRect();
      const range = document.createRange();
      range.selectNodeContents(mark.parentElement.firstChild);
      return [mark.parentElement.className, range.getBoundingClientRect().bottom > top + 4];
    })()"""
    with world.page() as shown:
        shown.ask("Wrap?")
        shown.answered()
        for width in range(300, 700, 40):
            shown.page.size(width, 900)
            assert shown.page.evaluate(lines) == ["cited", True], width


def test_deletion_is_no_louder_than_the_rest_before_it_is_confirmed(world: World) -> None:
    with world.page() as shown:
        shown.ask("Delete me?")
        shown.answered()
        shown.click(".side li button")
        shown.there("dialog .risky", "Delete")
        assert shown.count("dialog .danger") == 0
        press(shown, "dialog", "Delete")
        shown.there("dialog .danger", "Delete")


def test_an_empty_list_says_what_to_do_next(world: World) -> None:
    with world.page() as shown:
        shown.page.evaluate("document.querySelector('.side input').focus()")
        shown.write("zzz-nothing-is-called-so")
        shown.there(".side .hint", "Try another word, or look in the archive.")
