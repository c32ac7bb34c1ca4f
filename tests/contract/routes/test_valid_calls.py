"""A required call of llama.cpp's smallest model, which never learned to call: each answer is a valid call."""

from __future__ import annotations

from typing import Any

import jsonschema
import openai
import orjson
import pytest

from tests.contract.running import Gateway

WEATHER = {
    "name": "get_weather",
    "description": "Tells the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 40},
            "unit": {"$ref": "#/$defs/unit"},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
        },
        "required": ["city", "unit"],
        "additionalProperties": False,
        "$defs": {"unit": {"enum": ["celsius", "fahrenheit"]}},
    },
}
ADD = {
    "name": "add",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
}
FUNCTIONS = {function["name"]: function for function in (WEATHER, ADD)}
SAID = ("What is the weather in Paris?", "Add 3 and 4.", "Hello", "Tell me a long story.", "Wie wird das Wetter?", "{")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("requests", [3, pytest.param(200, marks=pytest.mark.soak)])
def test_each_answer_is_a_valid_call(whole: Gateway, requests: int) -> None:
    sdk: Any = openai.OpenAI(base_url=f"{whole.url}/v1", api_key=whole.key, max_retries=0, timeout=600)
    tools = [{"type": "function", "function": function} for function in FUNCTIONS.values()]
    flat = [{"type": "function", **function} for function in FUNCTIONS.values()]
    for n in range(requests):
        name = ("get_weather", "add", None)[n // 3 % 3]
        said, asked = SAID[n % len(SAID)], {"model": "smollm2", "temperature": 1.0}
        if n % 3 == 2:
            choice = {"type": "function", "name": name} if name else "required"
            answer = sdk.responses.create(input=said, tools=flat, tool_choice=choice, max_output_tokens=200, **asked)
            (call,) = answer.output
            assert (answer.status, call.type) == ("completed", "function_call")
        else:
            asked |= {"messages": [{"role": "user", "content": said}], "max_tokens": 200, "seed": n, "tools": tools}
            asked |= {"tool_choice": {"type": "function", "function": {"name": name}} if name else "required"}
            if n % 3 == 1:
                with sdk.chat.completions.stream(**asked) as stream:
                    (made,) = stream.get_final_completion().choices
            else:
                (made,) = sdk.chat.completions.create(**asked).choices
            assert (made.finish_reason, made.message.content) == ("tool_calls", None)
            (call,) = (each.function for each in made.message.tool_calls)
        assert call.name == (name or call.name)
        jsonschema.validate(orjson.loads(call.arguments), FUNCTIONS[call.name]["parameters"])


def test_a_tool_choice_without_a_tool_is_rejected(whole: Gateway) -> None:
    sdk: Any = openai.OpenAI(base_url=f"{whole.url}/v1", api_key=whole.key, max_retries=0)
    chat = {"model": "smollm2", "messages": [{"role": "user", "content": "x"}]}
    named = {"type": "function", "function": {"name": "other"}}
    tools = [{"type": "function", "function": ADD}]
    for more, param in (
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": named, "tools": tools}, "tool_choice.function.name"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            sdk.chat.completions.create(**chat, **more)
        assert refused.value.param == param
