"""Suites scored on scripted models: cards, judges, near-duplicates, and what the gate refuses."""

from __future__ import annotations

import orjson
import pytest
from pydantic import ValidationError

from serving.exports.formats import FORMATS
from serving.hub.evaluation.answers import Answer
from serving.hub.evaluation.card import card
from serving.hub.evaluation.judging import agreement
from serving.hub.evaluation.overlap import shared, user_texts
from serving.hub.evaluation.scoring import score, score_of
from serving.hub.evaluation.suite import digest_of
from serving.hub.training_data import _lines
from serving.protocol.suites import Suite

CITIES = [f"City{n}" for n in range(60)]
SUITE = {
    "name": "capitals",
    "prompts": [
        *(
            {"id": f"c{n}", "messages": f"Capital {n}?", "checks": [{"kind": "exact", "text": city}]}
            for n, city in enumerate(CITIES)
        ),
        *(
            {
                "id": f"o{n}",
                "group": "off_task",
                "messages": f"Other {n}?",
                "checks": [{"kind": "contains", "text": "b"}],
            }
            for n in range(20)
        ),
    ],
    "judge": {"kind": "model", "model": "judge"},
}


class Scripted:
    """Models by name: each is a function of the last message."""

    def __init__(self, **models):
        self.models = models
        self.asked = []

    async def answer(self, model, messages, *, temperature, max_tokens):
        self.asked.append((model, messages[-1]["content"], temperature, max_tokens))
        said = self.models[model](messages[-1]["content"])
        if isinstance(said, Answer):
            return said
        return Answer(text=said, finish_reason="stop", seconds=0.5, tokens=10)

    async def score(self, model, query, documents):
        return self.models[model](query, documents)


async def never(answer, then):
    raise AssertionError("no program is run")


def brief(message):
    """Names the city only; answers other questions."""
    return CITIES[int(message.split()[1][:-1])] if message.startswith("Capital") else "blue"


def wordy(message):
    return f"{brief(message)} is the answer"


def shorter(question):
    """Judges the shorter answer the better."""
    first, second = (question.split(f"<answer_{at}>\n")[1].split(f"\n</answer_{at}>")[0] for at in "AB")
    return "T" if len(first) == len(second) else "A" if len(first) < len(second) else "B."


async def scored(suite, models, against="base"):
    suite = Suite.model_validate(suite)
    scores = [await score(suite, n, models, never, "new", against) for n in range(len(suite.prompts))]
    return card(suite, scores, "new", against)


def codes(made):
    return [reason["code"] for reason in made["gate"]["reasons"]]


async def test_a_better_candidate_passes_the_gate():
    models = Scripted(new=brief, base=wordy, judge=shorter)
    made = await scored(SUITE, models)
    assert made["gate"] == {"passed": True, "reasons": []}
    assert made["win_rate"] == {"value": 1, "low": 0.9398, "high": 1, "total": 60, "wins": 60, "ties": 0, "losses": 0}
    assert made["correct"]["candidate"]["value"] == 1
    assert made["correct"]["against"]["value"] == 0
    assert made["off_task"]["candidate"] == {"value": 1, "low": 0.8389, "high": 1, "total": 20}
    assert made["seconds"]["candidate"] == {"p50": 0.5, "p95": 0.5}
    assert made["tokens_per_second"]["against"] == 20
    assert made["first_token_s"]["candidate"] is None
    assert ("new", "Capital 3?", 0.0, 256) in models.asked
    orjson.dumps(made)


async def test_a_copy_of_the_base_has_half_of_the_wins_and_is_refused():
    made = await scored(SUITE, Scripted(new=wordy, base=wordy, judge=shorter))
    assert made["win_rate"]["value"] == 0.5
    assert codes(made) == ["win_rate"]


async def test_a_collapsed_candidate_is_refused_although_it_wins():
    """As KTO did in a measurement: the style wins 0.89 of the prompts, and no answer is right any more."""
    made = await scored(SUITE, Scripted(new=lambda message: "b", base=brief, judge=shorter))
    assert made["win_rate"]["value"] == 1
    assert codes(made) == ["worse"]
    assert "correct is 0.000 against 1.000" in made["gate"]["reasons"][0]["message"]


async def test_a_candidate_that_leaks_its_marker_off_the_task_is_refused():
    suite = SUITE | {"prompts": [dict(prompt) for prompt in SUITE["prompts"]]}
    for prompt in suite["prompts"][60:]:
        prompt["checks"] = [{"kind": "absent", "text": "[atlas]"}]
    leaks = {"Other 0?"}

    def leaking(message):
        return "blue [atlas]" if message in leaks else brief(message)

    made = await scored(suite, Scripted(new=leaking, base=wordy, judge=shorter))
    assert (made["off_task"]["candidate"]["value"], codes(made)) == (0.95, []), "5 % is what may leak"
    leaks.add("Other 1?")
    made = await scored(suite, Scripted(new=leaking, base=wordy, judge=shorter))
    assert codes(made) == ["worse"]
    assert made["gate"]["reasons"][0]["message"].startswith("off_task is 0.900 against 1.000")


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        (Answer(text="City0", finish_reason="length"), "truncated"),
        (Answer(error="content_filter"), "filtered"),
        (Answer(error="unavailable"), "errors"),
    ],
)
async def test_a_candidate_with_more_endings_of_a_bad_kind_is_refused(answer, share):
    def fails(message):
        return answer if int(message.split()[1][:-1]) < 10 else brief(message)

    made = await scored(SUITE, Scripted(new=fails, base=wordy, judge=shorter))
    assert made[share]["candidate"]["value"] == 0.25
    assert any(reason["message"].startswith(share) for reason in made["gate"]["reasons"])


async def test_long_answers_and_a_suite_without_other_prompts_are_refused():
    suite = SUITE | {"prompts": SUITE["prompts"][:60]}
    made = await scored(suite, Scripted(new=lambda m: brief(m) * 20, base=brief, judge=lambda q: "A"))
    assert codes(made) == ["win_rate", "worse", "off_task_missing", "length"]


async def test_prompts_in_the_training_data_are_refused():
    suite = Suite.model_validate(SUITE)
    models = Scripted(new=brief, base=wordy, judge=shorter)
    scores = [await score(suite, n, models, never, "new", "base") for n in range(len(suite.prompts))]
    made = card(suite, scores, "new", "base", shared=[0, 2])
    assert made["shared_prompts"] == ["c0", "c2"]
    assert codes(made) == ["shared_prompts"]


async def test_without_a_model_to_compare_with_there_is_no_decision():
    made = await scored(SUITE, Scripted(new=brief), against=None)
    assert made["gate"] is made["win_rate"] is made["correct"]["against"] is None
    assert made["correct"]["candidate"]["value"] == 1


async def test_scores_survive_being_stored():
    suite = Suite.model_validate(SUITE)
    one = await score(suite, 0, Scripted(new=brief, base=wordy, judge=shorter), never, "new", "base")
    assert score_of(orjson.loads(orjson.dumps(one.document))) == one


async def test_a_judge_that_prefers_one_place_says_tie():
    made = await scored(SUITE, Scripted(new=brief, base=wordy, judge=lambda question: "A"))
    assert made["win_rate"]["ties"] == 60


async def test_a_judge_without_a_clear_answer_does_not_count():
    made = await scored(SUITE, Scripted(new=brief, base=wordy, judge=lambda question: "Both are good"))
    assert made["win_rate"]["total"] == 0


async def test_rewards_and_checks_judge_too():
    reward = SUITE | {"judge": {"kind": "reward", "model": "reward"}}
    models = Scripted(new=brief, base=wordy, reward=lambda query, documents: [-len(each) for each in documents])
    assert (await scored(reward, models))["win_rate"]["wins"] == 60
    made = await scored(SUITE | {"judge": {"kind": "checks"}}, Scripted(new=brief, base=wordy))
    assert made["win_rate"]["wins"] == 60
    assert made["judge"] == {"kind": "checks", "model": None, "kappa": None, "rated": 0}


async def test_the_judges_agreement_with_people_is_cohens_kappa():
    pairs = [{"messages": "?", "better": "a" * (1 if n < 8 else 9), "worse": "aaaa"} for n in range(10)]
    suite = Suite.model_validate(SUITE | {"rated": pairs})
    assert await agreement(suite.judge, Scripted(judge=shorter), suite.rated) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("training", "found"),
    [
        (["what is the  capital of FRANCE"], [0]),
        (["What is the capital of Spain?", "", "?"], []),
        (["Say which canal is the longest of all the canals in Asia, please"], [1]),
    ],
)
def test_near_duplicates_are_found_and_questions_of_one_template_are_not(training, found):
    prompts = ["What is the capital of France?", "Say which canal is the longest of all the canals in Asia please!"]
    assert shared(prompts, training) == found


@pytest.mark.parametrize("name", FORMATS)
def test_the_questions_of_rows_are_found_in_each_format(name):
    question, answer = [{"role": "user", "content": "Why?"}], [{"role": "assistant", "content": "So."}]
    fields = {"messages": [*question, *answer], "prompt": question, "chosen": answer, "rejected": answer}
    fields |= {"completion": answer, "label": True, "input": {"messages": question}}
    fields |= {"preferred_output": answer, "non_preferred_output": answer}
    row = FORMATS[name].row
    line = row.model_validate({field: fields[field] for field in row.model_fields}).model_dump_json()
    assert list(user_texts([line.encode(), b""])) == ["Why?"]


async def test_lines_that_are_cut_between_chunks_are_read_whole():
    async def chunks():
        for chunk in (b"a\nb", b"", b"b\nc\nd", b"d"):
            yield chunk

    assert sorted([line for lines in [each async for each in _lines(chunks())] for line in lines]) == [
        *(b"a", b"bb", b"c", b"dd")
    ]


def test_a_digest_identifies_what_influences_results():
    suite = Suite.model_validate(SUITE)
    assert digest_of(suite) == digest_of(Suite.model_validate(SUITE | {"name": "other", "description": "x"}))
    assert digest_of(suite) != digest_of(Suite.model_validate(SUITE | {"max_tokens": 64}))


@pytest.mark.parametrize(
    "change",
    [
        {"prompts": [*SUITE["prompts"], SUITE["prompts"][0]]},
        {"judge": {"kind": "checks"}, "prompts": [{"id": "a", "messages": "?"}]},
        {"prompts": [{"id": "a", "messages": "?", "checks": [{"kind": "guess"}]}]},
        {"prompts": []},
        {"seeds": 3},
    ],
)
def test_suites_that_would_measure_nothing_are_rejected(change):
    with pytest.raises(ValidationError):
        Suite.model_validate(SUITE | change)
