"""Regular expressions for kinds of prompt injections, over lower-case text.

Kinds of attacks after Perez and Ribeiro 2022 (Ignore Previous Prompt), Greshake et al. 2023 (Not what you've signed up
for) and OWASP's list for LLM applications, LLM01. Each repetition is bounded.
"""

from __future__ import annotations

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

ENGLISH = {
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

OTHERS = (
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

STEMS = {
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
"""Parts of words, one of which occurs in every match of a form; a non-breaking space stands for a space.

The forms are slow, so only text around these parts is searched.
"""
