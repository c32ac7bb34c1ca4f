"""What an application developer does with Anthropic's SDK, which is as it comes from its package."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import anthropic
import pytest
from anthropic import beta_tool
from pydantic import BaseModel

from tests.contract.routes.whole import CLERK

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "use-your-client.md"
HERON = [{"role": "user", "content": "Name a heron."}]


class Capital(BaseModel):
    """The capital of a country."""

    city: str


@beta_tool
def get_weather(city: str) -> str:
    """Returns the weather of a city.

    Args:
        city: Its name.
    """
    return f"Rain in {city}, 9 degrees."


@pytest.fixture
def place(whole, monkeypatch):
    """Makes the whole API the one that the SDK asks by default."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", whole.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", whole.key)


def test_the_documented_sample_runs(place, capsys):
    text = metadata.distribution("anthropic").read_text("METADATA") or ""
    samples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert samples
    for sample in samples:
        source, named = re.subn(r'"claude-[\w.-]+"', f'"{CLERK}"', sample)
        assert named == 1
        exec(source, {})
        assert "You asked Hello, Claude" in capsys.readouterr().out


def test_the_sample_of_our_page_runs(whole, monkeypatch, capsys):
    monkeypatch.setenv("URL", whole.url)
    monkeypatch.setenv("KEY", whole.key)
    (sample,) = re.findall(r"```python\n(import os\nfrom anthropic.*?)```", PAGE.read_text(), re.DOTALL)
    exec(sample, {})
    assert capsys.readouterr().out.strip()


def test_usage_is_that_of_a_chat_and_what_is_counted_before(place, whole):
    with anthropic.Anthropic() as client, whole.sdk() as openai:
        usage = client.messages.create(model="smollm2", max_tokens=6, messages=HERON).usage
        with client.messages.stream(model="smollm2", max_tokens=6, messages=HERON) as stream:
            streamed = stream.get_final_message().usage
        chat = openai.chat.completions.create(model="smollm2", max_tokens=6, messages=HERON).usage
        counted = client.messages.count_tokens(model="smollm2", messages=HERON).input_tokens
    for each in (usage, streamed):
        assert each.input_tokens + each.cache_read_input_tokens == chat.prompt_tokens == counted
        assert each.output_tokens == chat.completion_tokens == 6


def test_the_texts_of_a_stream_make_up_the_whole(place):
    with anthropic.Anthropic() as client:
        asked = {"model": "smollm2", "max_tokens": 12, "messages": HERON, "extra_body": {"temperature": 0}}
        whole = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            pieces = list(stream.text_stream)
    assert len(pieces) > 2
    assert "".join(pieces) == whole.content[0].text


async def test_the_asynchronous_client_reads_raw_events(place):
    async with anthropic.AsyncAnthropic() as client:
        stream = await client.messages.create(model=CLERK, max_tokens=64, messages=HERON, stream=True)
        kinds = [event.type async for event in stream]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_tool_runner_calls_and_goes_on(place, stream):
    with anthropic.Anthropic() as client:
        runner = client.beta.messages.tool_runner(
            model=CLERK,
            max_tokens=64,
            tools=[get_weather],
            messages=[{"role": "user", "content": "What is the weather like?"}],
            stream=stream,
        )
        messages = [each.get_final_message() if stream else each for each in runner]
    assert [message.stop_reason for message in messages] == ["tool_use", "end_turn"]
    assert re.fullmatch(r"It returned Rain in .*, 9 degrees\.", messages[-1].content[0].text)


def test_structured_output_is_parsed(place):
    with anthropic.Anthropic() as client:
        parsed = client.messages.parse(model=CLERK, max_tokens=64, messages=HERON, output_format=Capital)
    assert isinstance(parsed.parsed_output, Capital)


def test_what_is_wrong_is_the_clients_own_error(place):
    with anthropic.Anthropic(max_retries=0) as client:
        with pytest.raises(anthropic.NotFoundError, match="There is no model `claude`"):
            client.messages.create(model="claude", max_tokens=8, messages=HERON)
        with pytest.raises(anthropic.BadRequestError, match="Thinking cannot be set here"):
            client.messages.create(model=CLERK, max_tokens=8, messages=HERON, thinking={"type": "adaptive"})
