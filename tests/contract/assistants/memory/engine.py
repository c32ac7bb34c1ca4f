"""A scripted engine whose tokens are words."""

from __future__ import annotations

from aiohttp import web


def words(messages):
    return sum(len(str(m.get("content")).split()) for m in messages)


class WordCountingEngine:
    """Counts words as tokens, with a context of `window` of them; what it answers is up to `chat`."""

    window: int

    def app(self):
        app = web.Application(client_max_size=10**8)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/tokenize", self.tokenize)
        return app

    async def chat(self, request):
        raise NotImplementedError

    async def tokenize(self, request):
        messages = (await request.json()).get("messages", [])
        return web.json_response({"count": words(messages), "max_model_len": self.window, "tokens": []})
