"""Courtesies are told from questions, in three languages and in linear time."""

from __future__ import annotations

import pytest

from serving.assistants.small_talk import MAX_CHARACTERS, is_small_talk

COURTESIES = (
    "Thanks a lot!",
    "hi",
    "Hello, what can you do?",
    "Good evening",
    "That was very helpful, thank you :)",
    "No problem, bye",
    "Danke dir, das war's",
    "Grüß Gott",
    "Hallo zusammen! Was kannst du alles?",
    "Wie heißt du?",
    "Merci, c'est très utile",
    "Salut ! Qu'est-ce que tu peux faire ?",
    "Qui êtes-vous ?",
)
QUESTIONS = (
    "",
    "?",
    "What is it for?",
    "What is a tag?",
    "Thanks, and how do I add a model?",
    "Hello, what can you do with a canary?",
    "Danke! Wie mache ich ein Backup?",
    "Merci, et comment changer la clé ?",
    "Who are you to say that the disk is full?",
    "Good morning America",
    "Was kannst du über Quoten sagen?",
)


@pytest.mark.parametrize("message", COURTESIES)
def test_courtesies_are_small_talk(message: str) -> None:
    assert is_small_talk(message)


@pytest.mark.parametrize("message", QUESTIONS)
def test_questions_are_not_small_talk(message: str) -> None:
    assert not is_small_talk(message)


def test_a_long_message_is_none() -> None:
    assert is_small_talk("thanks " * (MAX_CHARACTERS // 7))
    assert not is_small_talk("thanks " * (MAX_CHARACTERS // 7 + 1))
