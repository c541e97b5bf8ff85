"""A server on this machine that answers what is asked of the Hugging Face Hub, for one repository."""

import base64
import hashlib
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote

NAME = "someone/digits"
COMMIT = "0123456789" * 4


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, value, status=200, **headers):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.tokens.add(self.headers["Authorization"])
        path = unquote(self.path).partition("?")[0]
        if path == "/api/repos/create":
            self.server.created.append(json.loads(content))
            self.answer({"url": f"http://{self.headers['Host']}/{NAME}"})
        elif path == "/api/validate-yaml":  # the header of the model card
            self.answer({"errors": [], "warnings": []})
        elif path == f"/api/models/{NAME}/preupload/main":
            files = json.loads(content)["files"]
            self.answer(
                {"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]}
            )
        elif path == f"/api/models/{NAME}/commit/main":
            for line in map(json.loads, content.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer({"commitUrl": f"http://{self.headers['Host']}/{NAME}/commit/{COMMIT}", "commitOid": COMMIT})
        else:
            self.answer({"error": path}, 404)

    def do_GET(self):
        path = unquote(self.path).partition("?")[0]
        name = path.removeprefix(f"/{NAME}/resolve/{COMMIT}/")
        if path in (f"/api/models/{NAME}", f"/api/models/{NAME}/revision/main"):
            files = [{"rfilename": name} for name in self.server.files]
            self.answer({"id": NAME, "sha": COMMIT, "siblings": files, "tags": [], "private": False})
        elif name in self.server.files:
            content = self.server.files[name]
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            self.answer(content, ETag=etag, X_Repo_Commit=COMMIT)
        else:
            self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET


@contextmanager
def local_hub():
    """Serve a hub; its files, tokens and requests for repositories are attributes of the server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.files, server.tokens, server.created = {}, set(), []
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
