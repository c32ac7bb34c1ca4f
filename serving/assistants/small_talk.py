"""Detects messages that do not ask about the documents: greetings, thanks, farewells, and questions about the
assistant.

A message is small talk when every word is part of a courtesy, and at least one is more than a filler. One other word
("Hello, how do I add a model?") makes it a question. English, German and French.
"""

from __future__ import annotations

import re

MAX_CHARACTERS = 200
"""A longer message is more than courtesies."""

_WORD = re.compile(r"[^\W_]+")

_COURTESIES = """
hello/hi/hey/hiya/howdy/greetings/welcome/goodbye/bye/cheers/thanks/thank/thx/ty/tnx/sorry/great/awesome/perfect/nice/
cool/super/excellent/wonderful/brilliant/amazing/fantastic/lovely/good/fine/helpful/ok/okay/alright/yes/no/yep/nope/
ciao/morning/afternoon/evening/night/congratulations/wow/haha/lol/please/understood/
hallo/servus/moin/grüezi/tschüss/tschüs/tschau/danke/dankeschön/bitte/gut/guten/gute/toll/prima/klasse/spitze/perfekt/
wunderbar/ausgezeichnet/hilfreich/verstanden/entschuldigung/genial/morgen/abend/nacht/wiedersehen/ja/nein/grüß/grüss/
bonjour/bonsoir/salut/coucou/merci/adieu/parfait/bien/bon/bonne/génial/excellente/utile/compris/désolé/oui/non/journée/
soirée/nuit/bravo/revoir/bientôt/
"""

_FILLERS = """
a/an/the/you/your/so/very/much/many/lot/lots/really/all/again/there/everyone/everybody/to/for/that/this/it/is/was/are/were/
i/me/my/we/us/got/have/had/see/later/soon/tomorrow/now/and/oh/ah/well/just/help/helped/helps/helping/quick/quickly/
answer/answers/day/weekend/one/of/at/in/took/worked/works/exactly/what/wanted/needed/looking/been/of/dear/friend/
assistant/bot/mate/team/appreciate/appreciated/job/work/then/by/problem/never/mind/worries/
der/die/das/den/dem/dir/dich/du/ich/mir/mich/euch/ihnen/ihr/sie/es/war/ist/sehr/viel/vielen/vielmals/für/auch/und/so/
schön/schöne/schönen/schönes/alles/klar/mal/na/gern/geholfen/hat/hast/hilfe/antwort/auf/bis/später/bald/zusammen/
dank/gott/noch/tag/s/t/ll/ve/re/einen/ein/eine/lieber/liebe/wirklich/super/ganz/genau/wochenende/gesucht/was/wollte/
le/la/les/un/une/de/des/du/tu/te/toi/vous/je/me/moi/pour/et/à/a/c/ca/ça/cela/est/était/très/beaucoup/tout/tous/monde/
votre/ton/aide/aidé/aider/m/réponse/demain/plus/tard/fait/vraiment/mille/fois/encore/au/aux/ce
"""

_QUESTIONS = """
who are you/what are you/what is your name/whats your name/what s your name/what can you do/what do you do/
what can i ask/what can i ask you/what do you know/how can you help/how can you help me/can you help/can you help me/
could you help me/how are you/how are you doing/how do you do/how is it going/how s it going/what s up/whats up/
are you a bot/are you a robot/are you human/are you a human/are you there/is anybody there/is anyone there/
what are you able to do/what are you for/tell me about yourself/introduce yourself/help me/help/
wer bist du/wer sind sie/was bist du/wie heißt du/wie heisst du/was kannst du/was können sie/was kannst du tun/
was kannst du alles/was machst du/wie geht es dir/wie geht es ihnen/wie geht s/wie gehts/kannst du mir helfen/
können sie mir helfen/wie kannst du mir helfen/wie kannst du helfen/bist du ein mensch/bist du ein bot/was weißt du/
was kann ich dich fragen/was kann ich fragen/hilfe/stell dich vor/
qui es tu/qui êtes vous/que peux tu faire/que peux tu/que pouvez vous faire/que sais tu faire/que savez vous faire/
qu est ce que tu peux faire/qu est ce que vous pouvez faire/tu peux faire quoi/tu fais quoi/que fais tu/
comment t appelles tu/comment vous appelez vous/comment vas tu/comment allez vous/comment ça va/ça va/ca va/
peux tu m aider/pouvez vous m aider/tu peux m aider/es tu un robot/es tu un humain/aide moi/quoi de neuf
"""


def _listed(text: str) -> list[str]:
    return [entry for part in text.split("/") if (entry := " ".join(part.split()))]


_COURTEOUS = frozenset(_listed(_COURTESIES))
_FILLING = frozenset(_listed(_FILLERS))
_ASKED = frozenset(tuple(entry.split()) for entry in _listed(_QUESTIONS))
_LONGEST = max(map(len, _ASKED))


def is_small_talk(message: str) -> bool:
    """Returns whether a message consists of courtesies only. It takes linear time, up to `MAX_CHARACTERS`."""
    if len(message) > MAX_CHARACTERS:
        return False
    words = _WORD.findall(message.lower())
    courteous, at = False, 0
    while at < len(words):
        if length := _question(words, at):
            courteous, at = True, at + length
        elif words[at] in _COURTEOUS:
            courteous, at = True, at + 1
        elif words[at] in _FILLING:
            at += 1
        else:
            return False
    return courteous


def _question(words: list[str], at: int) -> int:
    """Returns the number of words of a question about the assistant that begins here; 0 if there is none."""
    for length in range(min(_LONGEST, len(words) - at), 0, -1):
        if tuple(words[at : at + length]) in _ASKED:
            return length
    return 0
