"""Finds text that tries to give a model other instructions, by heuristics over several readings of it.

A heuristic catches what is said the way it is usually said. Readings undo what hides it: invisible and look-alike
characters, accents, digits for letters, letters apart, one level of base64, hexadecimal, percent signs or rot13, and
text that is written backwards. Kinds of attack after Perez and Ribeiro 2022 (Ignore Previous Prompt), Greshake et al.
2023 (Not what you've signed up for) and OWASP's list for LLM applications, LLM01.
"""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from serving.guardrails.rules import canonical
from serving.guardrails.rules.canonical import Canonical
from serving.guardrails.rules.finding import Finding
from serving.guardrails.rules.scan import scan

_GAP = r"(?:\W{1,3}\w{1,20}){0,%d}\W{1,3}"
_SOME = _GAP % 5
_FEW = _GAP % 3
_VERB = (
    r"(?:ignor(?:e|ing)|disregard(?:ing)?|forget|overrid(?:e|ing)|bypass(?:ing)?|neglect|discard|circumvent|drop|skip"
    r"|erase|violate|do not (?:follow|obey|listen to)|don'?t (?:follow|obey|listen to)"
    r"|(?:stop|quit|no longer) (?:follow(?:ing)?|obey(?:ing)?)|pay no attention to)"
)
_EARLIER = (
    r"(?:previous(?:ly)?|prior|above|earlier|preceding|former|initial|original|existing|current|all|any|every|your"
    r"|the"
    r" system|system|developer|safety|content|old|those|these|everything)"
)
_RULES = (
    r"(?:instructions?|prompts?|rules?|guidelines?|directives?|directions|commands?|constraints?|programming"
    r"|polic(?:y|ies)"
    r"|safeguards?|restrictions?|guardrails?|limitations|orders|messages?|filters?)"
)
_OWN_PROMPT = (
    r"(?:(?:system|hidden|secret|initial|original|internal|developer|confidential|full|exact|entire) (?:\w{1,12} )?"
    r"(?:prompt|instructions?|message|rules|guidelines|directives?|configuration)"
    r"|your (?:\w{1,12} )?(?:prompt|instructions|rules|guidelines|directives|programming)"
    r"|(?:prompt|instructions|text|words|everything|messages?|lines?|content) (?:\w{1,10} ){0,3}above"
    r"|(?:were|was) (?:you )?(?:told|given|instructed))"
)
_SHOW = (
    r"(?:reveal|show(?: me)?|print|repeat|output|display|tell me|leak|dump|give me|disclose|expose|recite"
    r"|write (?:out|down)"
    r"|copy|paste|share|quote|summari[sz]e|translate|encode|spell out|return|what (?:is|are|was|were)|list)"
)
_DATA = (
    r"(?:conversations?|chat (?:history|log)|history|messages|api[ _-]?keys?|passwords?|credentials?|secrets?|tokens?"
    r"|system prompt|instructions|cookies?|emails?|inbox|contacts|personal (?:data|information)|files?|documents?"
    r"|context"
    r"|user'?s? \w{1,12})"
)
_MODEL = (
    r"(?:ai|a\.i\.|llms?|(?:large )?language models?|assistants?|chat ?bots?|gpt|chatgpt|claude|gemini|copilot|bots?"
    r"|(?:ai )?(?:agents?|models?|systems?))"
)

_ENGLISH = {
    "override": (
        rf"\b{_VERB}{_SOME}{_EARLIER}{_FEW}{_RULES}\b|\b{_VERB} {_EARLIER} {_RULES}\b"
        rf"|\b{_VERB} (?:everything|anything|all|what)(?: (?:that )?(?:you|i|we|they|was|were|is|has|have))?"
        r"(?: \w{1,12}){0,4} (?:above|before|earlier|previously|so far|told|said|instructed|given|prior|until now)\b"
        rf"|\b(?:new|updated|revised|real|actual) (?:system )?(?:instructions?|prompt|directives?|task"
        rf"|orders)\s{{0,2}}:"
        rf"|\byour (?:new|real|actual|true|only) (?:instructions?|task|goal|objective|purpose|job|role|directive)s?"
        r" (?:is|are|will be)\b"
        rf"|\b(?:instructions|rules|guidelines|prompt|restrictions) (?:\w{{1,10}} ){{0,3}}(?:no longer apply"
        rf"|do not apply"
        r"|are (?:void|cancell?ed|suspended|lifted|obsolete|revoked|superseded|replaced)|don'?t apply)"
        r"|\bfrom (?:now|this point|here) on(?:ward)?s?,? (?:you|always|only|ignore|answer|respond|reply)\b"
        r"|\b(?:start|begin) (?:over|anew|afresh) with (?:the|these|new) (?:following|instructions)"
    ),
    "reveal": (
        rf"\b{_SHOW}{_GAP % 6}{_OWN_PROMPT}\b|\b{_SHOW} {_OWN_PROMPT}\b"
        r"|\b(?:repeat|print|output|say|copy|translate) (?:the |all |every )?(?:words?|text|everything|lines?"
        r"|sentences?)"
        r"(?: \w{1,12}){0,5} (?:above|before this|starting with|beginning with)"
        r"|\b(?:start|begin)(?:ing|s)? with [\"'`\W]{0,3}you are (?:a|an|chatgpt|claude)\b"
    ),
    "jailbreak": (
        r"\bdo anything now\b|\bjail ?br(?:eak|oken)\b|\b(?:enable|enter|activate|switch to|in|you are in) "
        r"(?:\w{1,12} )?(?:developer|debug|god|dan|admin(?:istrator)?|root|sudo|unrestricted|maintenance|dev"
        r"|jailbreak)"
        r" mode\b|\b(?:developer|god|dan|unrestricted) mode (?:is )?(?:on|enabled|activated|unlocked)\b"
        r"|\byou are (?:now )?(?:\w{1,12} ){0,3}(?:dan|unrestricted|unfiltered|uncensored|jailbroken|unbound|amoral"
        r"|free (?:of|from)|evil|no longer (?:bound|an? |restricted|limited))"
        r"|\b(?:pretend|imagine|act|behave|respond|answer|roleplay|role-play|speak|reply"
        r"|write)(?:\W{1,3}\w{1,14}){0,8}\W{1,3}"
        r"(?:(?:no|without(?: any)?|free (?:of|from)(?: all)?"
        r"|not bound by(?: any)?)(?: \w{1,12}){0,2} (?:restrictions?"
        r"|rules|limits|limitations|filters?|guidelines|censorship|ethic\w{0,3}|morals?|constraints|safety"
        r"|polic(?:y|ies))"
        r"|unrestricted|unfiltered|uncensored|amoral)\b"
        r"|\bstay in character\b(?:\W{1,3}\w{1,14}){0,8}\W{1,3}(?:no matter|whatever|even if|never refuse)"
        r"|\b(?:never|do not|don'?t|cannot|can'?t) (?:ever )?(?:refuse|say (?:that )?(?:you )?(?:can'?t|cannot|no))\b"
        r"|\b(?:your|all|any|its|the) (?:safety|ethical|content|moral)(?: \w{1,12}){0,2} "
        r"(?:filters?|guidelines|rules|protocols?|checks|restrictions|policies|training)"
        r"(?: \w{1,12}){0,2} (?:off|disabled|removed|lifted|suspended|no longer)"
        r"|\b(?:turn off|disable|remove|deactivate|switch off|lift|suspend) (?:\w{1,12} ){0,3}(?:safety|content"
        r"|ethical"
        r"|moral|moderation|guard)(?: ?\w{1,12}){0,2}"
        r"|\bopposite day\b|\bdeceased grandm\w{2,6}\b|\b(?:dan|aim|stan|evilbot|dude) (?:would|will|can"
        r"|must) (?:say|do|answer)"
    ),
    "markers": (
        r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id|end_header_id|end"
        r"|begin_of_text)\|>"
        r"|\[/?inst\]|<</?sys>>|</?(?:system|developer|instructions?|admin|prompt|untrusted|context|document"
        r"|user_input"
        r"|tool_result|assistant|im_start)(?:[ _-]?(?:prompt|message|override|instructions?))?>"
        r"|(?m:^)[ \t#*>\[=-]{0,6}(?:system|developer|admin|administrator|root)(?: (?:message|prompt|override|note"
        r"|notice|alert"
        r"|instructions?|update|command))?[\])*=-]{0,4}\s{0,2}:\s{0,3}\S"
        r"|(?m:^)\s{0,3}#{2,4} ?(?:system|instruction|new instruction|response|human|assistant)s?\b ?:?\s{0,2}$"
        r"|\b(?:begin|end|start) (?:of )?(?:the )?(?:system|user|hidden|admin|developer|untrusted) (?:prompt"
        r"|instructions?"
        r"|input|message|content|data|query)\b"
        r"|\n\s{0,3}(?:human|assistant)\s{0,2}:(?=[^\n]{0,400}\n\s{0,3}(?:human|assistant)\s{0,2}:)"
    ),
    "exfiltration": (
        rf"\b(?:send|post|forward|e-?mail|exfiltrate|upload|transmit|leak|submit|deliver|append|encode|embed|attach"
        rf"|insert"
        rf"|include|copy){_GAP % 6}{_DATA}{_GAP % 8}(?:(?:https?|ftp)://|www\.|url\b|webhook|endpoint"
        rf"|query (?:string|param)"
        r"|image|link\b|[\w.+-]{1,40}@[\w-]{1,40}\.\w{2,8})"
        r"|\b(?:render|include|display|output|add|insert|append|show|write|embed)(?:\W{1,3}\w{1,14}){0,8}\W{1,3}"
        r"(?:markdown )?(?:image|img|link|pixel)(?:\W{1,3}\w{1,14}){0,10}\W{1,3}(?:replac|with the (?:user"
        r"|conversation"
        r"|chat|secret|data|last|summary)|containing the|query|base64|parameter|encoded)"
        r"|!\[[^\]\n]{0,80}\]\(https?://[^\s)]{1,200}[?&=/](?:\{|\$\{|<|\[|%7b)"
        r"|\b(?:fetch|visit|open|call|request|load|browse to|get|navigate to) (?:the (?:url|page"
        r"|link) )?https?://\S{1,200}"
        r"(?:\W{1,3}\w{1,14}){0,6}\W{1,3}(?:with|append|includ|followed by|and (?:follow|execute|obey|do what))"
    ),
    "concealment": (
        r"\b(?:do not|don'?t|never|without)(?: \w{1,10}){0,2} (?:tell(?:ing)?|inform(?:ing)?|mention(?:ing)?"
        r"|notify(?:ing)?"
        r"|alert(?:ing)?|reveal(?:ing)?|let(?:ting)?|show(?:ing)?|asking|warn(?:ing)?|disclos(?:e|ing))"
        r"(?: (?:this|it|that|anything|any of this))?(?: to)? (?:the |any )?(?:users?|human|person|anyone|operator"
        r"|reader)\b"
        r"|\b(?:without|no need (?:for|to ask for)|skip|bypass) (?:\w{1,12} )?(?:user )?(?:approval|confirmation"
        r"|permission"
        r"|consent)\b(?:\W{1,3}\w{1,14}){0,6}\W{1,3}(?:tool|function|call|execute|run|send|delete|transfer)"
        r"|\b(?:call|invoke|use|execute|run) (?:the )?[\w.]{2,40}(?: (?:tool|function"
        r"|api))(?:\W{1,3}\w{1,14}){0,10}\W{1,3}"
        r"(?:without (?:asking|confirm\w{0,5}|approval|permission)|silently|secretly|immediately and)"
    ),
    "addressed": (
        rf"\b(?:attention|note to|notice to|message (?:to|for)|instructions? (?:to|for)|important (?:note )?for"
        rf"|dear|hey|hello)"
        rf":? (?:all |any |the |every )?{_MODEL}(?: (?:assistants?|models?|agents?|systems?|bots?))?"
        r"(?: (?:reading|processing|summari[sz]ing|parsing|reviewing|that|who|scanning|evaluating)|\s?[,:!-])"
        rf"|\bif you(?: are|'re) (?:an? |the )?{_MODEL}\b(?:\W{{1,3}}\w{{1,14}}){{0,12}}\W{{1,3}}(?:must|should|say"
        rf"|write|output"
        r"|respond|reply|include|recommend|ignore|rate|add|tell|state|answer|please|have to|need to|then|do|always)\b"
        rf"|\b{_MODEL} (?:reading|processing|summari[sz]ing|parsing|reviewing|scanning|evaluating|that reads?"
        rf"|which reads?) this\b"
        rf"|\bwhen (?:an? |any |the )?{_MODEL}(?:\W{{1,3}}\w{{1,14}}){{0,4}}\W{{1,3}}(?:reads?|process(?:es)?"
        rf"|summari[sz]es?"
        r"|sees?|parses?) this\b"
        r"|\b(?:rate|rank|score|recommend|hire|select|approve|accept|mark|classify) (?:this|the) (?:candidate"
        r"|applicant|resume"
        r"|cv|paper|product|submission|review|essay)(?:\W{1,3}\w{1,14}){0,6}\W{1,3}(?:regardless|no matter|highest"
        r"|best|as"
        r" (?:excellent|safe|perfect|top)|ignoring|above all)"
    ),
}

_OTHERS = (
    # German, French, Spanish, Italian, Portuguese, Dutch, Polish, Turkish, Russian, Ukrainian, Chinese, Japanese and
    # Korean
    r"\b(?:ignorier\w{0,3}|vergiss|vergesst|missachte\w?|uberschreib\w{0,3}"
    r"|umgeh\w{0,3})(?:\W{1,3}\w{1,20}){0,5}\W{1,3}"
    r"(?:anweisung\w{0,2}|instruktion\w{0,2}|regel\w?|vorgaben?|befehle?|prompts?|richtlinien?|oben)\b"
    r"|\b(?:zeig\w{0,2}|nenn\w{0,2}|gib|verrat\w{0,2}|wiederhol\w{0,2}|druck\w{0,2})(?:\W{1,3}\w{1,20}){0,5}\W{1,3}"
    r"(?:system-?prompts?|systemanweisung\w{0,2}|systemnachricht)\b"
    r"|\b(?:ignore[rzs]?|oublie[rzs]?|neglige[rzs]?|contourne[rzs]?)(?:\W{1,3}\w{1,20}){0,5}\W{1,3}"
    r"(?:instructions?|consignes?|regles?|directives?|ordres?) (?:\w{1,12} ){0,2}(?:precedent\w{0,2}"
    r"|anterieur\w{0,2}|ci-dessus"
    r"|initiales?|systeme|donnees)\b|\b(?:revele[rzs]?|affiche[rzs]?|montre[rzs]?|donne[rzs]?|repete[rzs]?)"
    r"(?:\W{1,3}\w{1,20}){0,5}\W{1,3}(?:prompt systeme|(?:instructions|invite|message) (?:du )?systeme)\b"
    r"|\b(?:ignora\w{0,3}|olvida\w{0,3}|descarta\w{0,2}|omite|omita)(?:\W{1,3}\w{1,20}){0,5}\W{1,3}"
    r"(?:instrucciones|ordenes|reglas|indicaciones|directrices)\b|\b(?:revela\w{0,2}|muestra\w{0,2}|dime|imprime"
    r"|repite)"
    r"(?:\W{1,3}\w{1,20}){0,5}\W{1,3}(?:prompt (?:del|de) sistema|instrucciones (?:del|de) sistema|mensaje (?:del"
    r"|de) sistema)\b"
    r"|\b(?:ignora\w{0,2}|dimentica\w{0,2}|trascura)(?:\W{1,3}\w{1,20}){0,5}\W{1,3}(?:istruzioni|regole|direttive"
    r"|ordini)\b"
    r"|\b(?:ignore|ignorem?|esqueca\w{0,2}|desconsidere)(?:\W{1,3}\w{1,20}){0,5}\W{1,3}(?:instrucoes|regras|ordens"
    r"|diretrizes)\b"
    r"|\b(?:mostra\w{0,2}|mostre|revele|rivela\w{0,2})(?:\W{1,3}\w{1,20}){0,5}\W{1,3}(?:prompt (?:di|do"
    r"|de) sistema)\b"
    r"|\b(?:negeer|vergeet|omzeil)(?:\W{1,3}\w{1,20}){0,5}\W{1,3}(?:instructies?|regels|opdrachten|aanwijzingen)\b"
    r"|\b(?:zignoruj|ignoruj|zapomnij|pomin)(?:\W{1,3}\w{1,20}){0,5}\W{1,3}(?:instrukcj\w{1,2}|polece\w{1,3}"
    r"|zasad\w{0,2})"
    r"|\b(?:onceki|yukaridaki|tum)(?:\W{1,3}\w{1,20}){0,3}\W{1,3}(?:talimat\w{0,8}|komut\w{0,8}|kural\w{0,8})"
    r"(?:\W{1,3}\w{1,20}){0,3}\W{1,3}(?:yok say|unut|gormezden|dikkate alma)"
    r"|(?:игнорируй|проигнорируй|забудь|не обращай внимания|ігноруй|забудь)\w{0,3}(?:\W{1,3}\w{1,20}){0,5}\W{1,3}"
    r"(?:инструкци|указани|правил|команд|інструкці|вказівк)\w{0,3}"
    r"|(?:покажи|выведи|раскрой|напиши)(?:\W{1,3}\w{1,20}){0,4}\W{1,3}(?:системн\w{2,4} (?:промпт|инструкци"
    r"|сообщени))"
    r"|(?:忽略|无视|忘记|無視|忽視|忘掉|不要理会).{0,12}(?:指令|指示|规则|規則|提示|命令|要求|内容)"
    r"|(?:显示|输出|告诉我|打印|泄露|重复).{0,12}(?:系统提示|系统指令|系統提示|提示词)"
    r"|(?:以前|これまで|上記|前|すべて|全て).{0,8}(?:指示|命令|ルール|プロンプト|指令).{0,6}(?:無視|忘れ)"
    r"|システムプロンプト.{0,8}(?:表示|出力|教え|見せ)"
    r"|(?:이전|위의|앞의|모든).{0,10}(?:지시|명령|규칙|지침).{0,8}(?:무시|잊)|시스템 ?프롬프트.{0,8}(?:보여|출력|알려)"
)

_STEMS = {
    "override": (
        "ignor disregard forget overrid bypass neglect discard circumvent drop skip eras violate follow obey listen"
        " attention"
        " new updated revised real actual instructions rules guidelines prompt restrictions from\xa0 over anew"
        " afresh your\xa0"
    ),
    "reveal": "prompt instruct rules guidelines directive configuration message programming above told given before"
    " with",
    "jailbreak": (
        "anything\xa0now jail mode you\xa0are pretend imagine act behave respond answer roleplay role-play speak"
        " reply write"
        " character never not\xa0 don't can't cannot safety ethical content moral moderation guard opposite grandm"
        " would will"
        " can\xa0 must"
    ),
    "markers": "<| inst] sys>> < system developer admin root # begin end start human assistant",
    "exfiltration": (
        "send post forward mail exfiltrat upload transmit leak submit deliver append encode embed attach insert"
        " include copy"
        " render display output add show write ![ http"
    ),
    "concealment": "not\xa0 don't never without no\xa0need skip bypass call invoke use\xa0 execute run",
    "addressed": (
        "attention note notice message instruction important dear hey hello if\xa0you this when rate rank score"
        " recommend hire"
        " select approve accept mark classify"
    ),
    "abroad": (
        "ignor vergiss vergesst missacht schreib umgeh zeig nenn gib verrat wiederhol druck oubli neglig contourn"
        " revel affich"
        " montr donne repet olvid descart omit muestra dime imprim repit dimentic trascur esquec desconsider mostr"
        " rivel negeer"
        " vergeet omzeil zapomn pomin talimat komut kural игнор забудь обращай ігнор покаж вывед раскр напиш 忽 无视"
        " 無視 忘 不要"
        " 显示 输出 告诉 打印 泄露 重复 無視 システム 무시 잊 프롬프트"
    ),
}
"""Parts of words of which one stands in whatever a form matches; a hard space stands for a space.

The forms are slow, so they are looked for around these alone.
"""

_FORMS = [(kind, re.compile(form), _STEMS[kind].split(" ")) for kind, form in _ENGLISH.items()]
_FORMS = [(kind, form, [stem.replace("\xa0", " ") for stem in stems]) for kind, form, stems in _FORMS]
_READ = [*_FORMS, ("override", re.compile(_OTHERS), _STEMS["abroad"].split())]
_CORE = [entry for entry in _FORMS if entry[0] in ("override", "reveal", "exfiltration")]
BEFORE, AFTER = 160, 480
"""Characters around a stem in which a form is looked for."""

_SQUEEZED = re.compile(
    r"(?:ignore|disregard|forget|override|bypass)(?:all|any|the|your|my|of|every|and){0,3}(?:previous|prior|above"
    r"|earlier|system)?"
    r"(?:system)?(?:instruction|prompt|rule|guideline|directive)|(?:reveal|show|print|repeat|leak|giveme"
    r"|tellme)(?:me|us)?"
    r"(?:your|the)?(?:system|hidden|secret|initial)(?:prompt|instruction|message)"
)
_APART = re.compile(r"(?<!\w)\w(?:[ ._*|/+~,-]{1,3}\w(?!\w)){9,400}")
_CUT = re.compile(r"[^\W\d_]{1,12}(?:[._*|/+~-][^\W\d_]{1,12}){3,60}")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{24,100000}={0,2}")
_HEXADECIMAL = re.compile(r"(?<![0-9A-Za-z])(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[ :,]?){16,20000}(?![0-9A-Za-z])")
_PERCENT = re.compile(r"(?:[\w.+-]{0,30}%[0-9A-Fa-f]{2}){3,2000}[\w.+-]{0,200}")
_LEET = str.maketrans("013457@$!|", "oieastasil")
_LEET_WORD = re.compile(r"(?=[^\s]{0,30}[a-z])(?=[^\s]{0,30}[013457@$!|])[a-z013457@$!|]{3,30}")

_HIDDEN = re.compile(
    # The flag of a region has tags: what it takes is not looked at again.
    "(?P<flag>\U0001f3f4[\U000e0020-\U000e007f]{1,32})"
    "|[\U000e0020-\U000e007e]{3,}|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}"
    "|[\u200b-\u200d\u2060-\u2064\u180e\ufeff]{8,}"
    "|[\u202d\u202e]"
)

_TALK = re.compile(
    r"\b(?:prompt[ -]?injections?|jailbreaks?|attack(?:s|er|ers)?|adversar\w{1,8}|malicious|payloads?"
    r"|exploit\w{0,3}|phras\w{1,3}"
    r"|e\.g\.|for (?:example|instance)|such as|example|owasp|red[ -]team\w{0,4}|guardrails?|detect\w{0,4}"
    r"|classifier|heuristics?"
    r"|says?|saying|texts?|strings?|contain\w{0,3}|words?|sentences?|called|titled|named|wrote|asks?|like)\b"
)
_QUOTES = {"'": "'", '"': '"', "`": "`", "“": "”", "‘": "’", "«": "»", "„": "“"}
TALK = 160
"""Characters before a quotation in which it can be said that it is one."""

QUOTED = 200
"""Characters of a quotation."""


class Injection:
    """Attempts to override instructions, to have them shown, to break out of a role, to send data away, and to"
    " hide."""

    def find(self, text: str, start: int = 0) -> list[Finding]:
        """Returns what begins at or after `start`."""
        found = set(_hidden(text))
        seen, looks = canonical.visible(text), canonical.skeleton(text)
        lower = Canonical(seen.text.lower(), seen.origins) if len(seen.text) == len(seen.text.lower()) else seen
        for reading in {reading.text: reading for reading in (lower, looks, _unleet(looks))}.values():
            found |= set(_said(reading))
        found |= set(_squeezed(looks))
        found |= set(_encoded(seen))
        for kind, turned in (("rot13", codecs.encode(looks.text, "rot13")), ("reversed", looks.text[::-1])):
            for _, form, stems in _CORE:
                for first, last in _spans(form, stems, turned):
                    if kind == "reversed":
                        first, last = len(turned) - last, len(turned) - first
                    found.add(Finding(*looks.span(first, last), kind))
        return [finding for finding in sorted(found) if finding.start >= start]


def _hidden(text: str) -> Iterator[Finding]:
    if text.isascii():
        return
    for match in scan(_HIDDEN, text):
        if match["flag"] is None:
            yield Finding(*match.span(), "hidden_text")


def _said(reading: Canonical) -> Iterator[Finding]:
    for kind, form, stems in _READ:
        for span in _spans(form, stems, reading.text):
            if not _quoted(reading.text, *span):
                yield Finding(*reading.span(*span), kind)


def _spans(form: re.Pattern[str], stems: Sequence[str], text: str) -> Iterator[tuple[int, int]]:
    """Yields where `form` matches, looked for around the `stems`."""
    places = []
    for stem in stems:
        at = text.find(stem)
        while at >= 0:
            places.append(at)
            at = text.find(stem, at + BEFORE)  # those between are in its surroundings
    done = 0
    for at in sorted(places):
        first, last = max(at - BEFORE, done), min(at + AFTER, len(text))
        while first < last and (match := form.search(text, first, last)):
            yield match.span()
            first = match.end()
        done = max(done, first, last - BEFORE)


def _quoted(text: str, start: int, end: int) -> bool:
    """Whether `text[start:end]` stands within a short quotation that is spoken about."""
    before = text[max(start - QUOTED, 0) : start]
    for opens, closes in _QUOTES.items():
        at = before.rfind(opens)
        if at < 0 or (opens == closes and opens == "'" and before[at - 1 : at].isalnum()):
            continue
        if opens == closes and before.count(opens) % 2 == 0 and len(before) < QUOTED:
            continue
        opening = start - len(before) + at
        closing = text.find(closes, end, opening + QUOTED)
        if closing >= 0 and "\n" not in text[opening:closing]:
            return _TALK.search(text, max(opening - TALK, 0), opening) is not None
    return False


def _unleet(reading: Canonical) -> Canonical:
    """Returns the reading with letters for the digits and signs inside of words."""
    parts: list[str] = []
    at = 0
    for match in scan(_LEET_WORD, reading.text):
        parts += [reading.text[at : match.start()], match[0].translate(_LEET)]
        at = match.end()
    return Canonical("".join([*parts, reading.text[at:]]), reading.origins)


def _squeezed(reading: Canonical) -> Iterator[Finding]:
    """Yields what is spelled letter by letter, or with signs between its words or syllables."""
    for apart in (_APART, _CUT):
        for match in scan(apart, reading.text):
            letters = "".join(c for c in match[0] if c.isalnum())
            if _SQUEEZED.search(letters) or _SQUEEZED.search(letters.translate(_LEET)):
                yield Finding(*reading.span(*match.span()), "spelled")


def _encoded(seen: Canonical) -> Iterator[Finding]:
    for kind, form, decode in (
        ("base64", _BASE64, _from_base64),
        ("hexadecimal", _HEXADECIMAL, _from_hexadecimal),
        ("percent", _PERCENT, unquote),
    ):
        for match in scan(form, seen.text):
            said = canonical.skeleton(decode(match[0])).text
            if said and any(next(_spans(form, stems, said), None) for _, form, stems in _FORMS):
                yield Finding(*seen.span(*match.span()), kind)


def _from_base64(text: str) -> str:
    text = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    text = text[: len(text) - (len(text) % 4 == 1)]
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return ""


def _from_hexadecimal(text: str) -> str:
    try:
        return bytes.fromhex(re.sub(r"0x|\\x|[ :,]", "", text)).decode()
    except ValueError:
        return ""
