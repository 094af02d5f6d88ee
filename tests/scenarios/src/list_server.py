"""A server of lists over TLS: python3 list_server.py FOLDER. Its certificate and key lie in FOLDER, as DER."""

import base64, os, ssl, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

folder = sys.argv[1]


def path(name):
    return os.path.join(folder, name)


def pem(name, kind):
    text = base64.encodebytes(open(path(name), "rb").read()).decode()
    return f"-----BEGIN {kind}-----\n{text}-----END {kind}-----\n"


class Lists(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        headers.setdefault("Content_Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        with open(path("requests"), "a") as log:
            peer = self.client_address[0].removeprefix("::ffff:")
            log.write(f"{self.path} {peer} {self.headers.get('If-None-Match')}\n")
        if self.path == "/clear":
            return self.answer(302, Location="http://203.0.113.10/list")
        if self.path == "/cut":
            self.answer(200, b"203.0.113.20\n", Content_Length="1000000")
            return self.close()
        if self.path == "/endless":
            self.answer(200, Content_Length="1000000000000")
            while True:
                self.wfile.write(b"203.0.113.20\n" * 1000)
        if self.path == "/slow":
            self.answer(200, Content_Length="1000000")
            while True:
                self.wfile.write(b"#\n")
                self.wfile.flush()
                time.sleep(0.2)
        if self.path != "/list":
            return self.answer(404)
        body = open(path("list"), "rb").read()
        tag = f'"{hash(body)}"'
        if self.headers.get("If-None-Match") == tag:
            return self.answer(304, ETag=tag)
        return self.answer(200, body, ETag=tag)

    def close(self):
        self.close_connection = True
        self.connection.close()


with open(path("server.pem"), "w") as file:
    file.write(pem("server.der", "CERTIFICATE") + pem("key.der", "PRIVATE KEY"))
with open(path("authorities.pem"), "w") as file:
    file.write(pem("authority.der", "CERTIFICATE"))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(path("server.pem"))
server = ThreadingHTTPServer(("203.0.113.10", 443), Lists)
server.daemon_threads = True
server.socket = context.wrap_socket(server.socket, server_side=True)
print("serves", flush=True)
server.serve_forever()
