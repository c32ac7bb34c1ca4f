"""A model that says one word a second: a stream as long as its caller asks for, that costs no processor time.

Run in a pod of the serving image; speaks as much of OpenAI's API as the `remote` engine uses.
"""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Ticker(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer({"object": "list", "data": [{"id": "ticker", "object": "model"}]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        words = asked.get("max_tokens") or asked.get("max_completion_tokens") or 4
        if not asked.get("stream"):
            message = {"role": "assistant", "content": " ".join(str(i) for i in range(words))}
            self._answer(self._body("chat.completion", {"message": message, "finish_reason": "length"}))
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for i in range(words):
            self._event(self._body("chat.completion.chunk", {"delta": {"content": f"{i} "}, "finish_reason": None}))
            time.sleep(1)
        self._event(self._body("chat.completion.chunk", {"delta": {}, "finish_reason": "length"}))
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _body(self, kind, choice):
        return {"id": "t", "object": kind, "created": 0, "model": "ticker", "choices": [{"index": 0, **choice}]}

    def _event(self, body):
        self._chunk(b"data: " + json.dumps(body).encode() + b"\n\n")

    def _chunk(self, data):
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _answer(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        return


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8080), Ticker).serve_forever()
