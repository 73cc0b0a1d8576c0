"""A web site of everything that goes wrong, and of images that look odd and are right; one server under several names."""

from __future__ import annotations

import gzip
import io
import ipaddress
import random
import socket
import struct
import threading
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

#: What `names` answers; everything else is this machine or not known.
ELSEWHERE = {
    "metadata.test": ["169.254.169.254"],
    "private.cdn.test": ["10.255.255.1"],
    "mixed.cdn.test": ["93.184.215.14", "127.0.0.1"],
    "mapped.cdn.test": ["::ffff:127.0.0.1"],
    "loopback6.cdn.test": ["::1"],
}
HERE = (
    "images.test",
    "slow.test",
    "stall.test",
    "closed.test",
    "noise.test",
    "cut.test",
    "xn--bcher-kva.test",
    "other.test",
)


def names(real: Callable[..., Any]) -> Callable[..., Any]:
    """socket.getaddrinfo as the name server of these tests gives it."""

    def look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name in HERE:
            return real("127.0.0.1", port, *args, **kwargs)
        if name in ELSEWHERE:
            family = {4: socket.AF_INET, 6: socket.AF_INET6}
            return [
                (family[ipaddress.ip_address(text).version], socket.SOCK_STREAM, 6, "", (text, port or 0))
                for text in ELSEWHERE[name]
            ]
        if name.endswith(".test"):
            raise socket.gaierror(-2, "Name or service not known")
        return real(host, port, *args, **kwargs)

    return look_up


# -- images -------------------------------------------------------------------------------------------------------------


def noise(seed: int, size: tuple[int, int] = (48, 32)) -> Image.Image:
    """A colourful picture that does not compress to nothing."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    told = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", told)


def png_of(width: int, height: int, data: bytes = b"", crc: int | None = None) -> bytes:
    """A PNG of one grey channel with that header."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data), crc) + chunk(b"IEND", b"")


def bad_bytes() -> dict[str, bytes]:
    """Files that are no usable image, by name."""
    jpeg, png = saved(noise(1, (200, 160)), "JPEG"), saved(noise(2), "PNG")
    gif = bytearray(saved(noise(3).convert("P"), "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    return {
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "header-only.jpg": jpeg[:20],
        "truncated.png": png[: len(png) // 2],
        "signature-only.png": png[:8],
        "empty.png": b"",
        "login.png": b"<!doctype html><html><body>Log in</body></html>",
        "text.png": b"John Smith works at Acme",
        "error.png": b'{"detail": "not here"}',
        "random.png": random.Random(1).randbytes(5000),
        "crc.png": png_of(8, 8, bytes(72), crc=1),
        "zero-size.png": png_of(0, 0),
        "no-pixels.png": png_of(64, 64, b"\x00"),
        "pixel-bomb.png": png_of(60000, 60000, bytes(1000)),
        "wide.png": saved(Image.new("1", (1500, 1500)), "PNG"),
        "bomb.gif": bytes(gif),
        "run-me.eps": saved(noise(4), "EPS"),
        "vector.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "paper.pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF",
        "archive.zip": b"PK\x05\x06" + bytes(18),
    }


def odd_bytes() -> dict[str, bytes]:
    """Files that look odd and are right, by name."""
    picture, turned, broken_exif = noise(5), Image.Exif(), b"Exif\x00\x00MM\x00*\x00\x00\xff\xff"
    turned[0x0112] = 6
    deep = Image.fromarray((np.arange(48 * 32, dtype=np.uint32).reshape(32, 48) * 42).astype(np.uint16))
    frames = [noise(seed).convert("P") for seed in (6, 7, 8)]
    return {
        "cmyk.jpg": saved(picture.convert("CMYK"), "JPEG"),
        "grey.jpg": saved(picture.convert("L"), "JPEG"),
        "progressive.jpg": saved(picture, "JPEG", progressive=True),
        "turned.jpg": saved(picture, "JPEG", exif=turned),
        "odd-exif.jpg": saved(picture, "JPEG", exif=broken_exif),
        "deep.png": saved(deep, "PNG"),
        "palette.png": saved(picture.convert("P"), "PNG", transparency=3),
        "clear.png": saved(picture.convert("RGBA"), "PNG"),
        "grey-clear.png": saved(picture.convert("LA"), "PNG"),
        "bits.png": saved(picture.convert("1"), "PNG"),
        "moving.gif": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "moving.webp": saved(picture, "WEBP", save_all=True, append_images=[noise(9)]),
        "scan.tiff": saved(picture, "TIFF"),
        "old.bmp": saved(picture, "BMP"),
        "one-pixel.png": saved(noise(10, (1, 1)), "PNG"),
        "line.png": saved(noise(11, (400, 1)), "PNG"),
        "no-suffix": saved(picture, "JPEG"),
        "named-wrongly.png": saved(picture, "JPEG"),
    }


# -- the server ---------------------------------------------------------------------------------------------------------


class Site:
    """The server; `requests` holds (host, path, whether a token came along) of what it was asked.

    What is in `hanging` is sent by half, and then nothing.
    """

    def __init__(self, limit: int) -> None:
        self.files = {f"/data/upload/1/{name}": data for name, data in (bad_bytes() | odd_bytes()).items()}
        self.files |= {f"/data/upload/1/good-{n}.png": saved(noise(100 + n), "PNG") for n in range(20)}
        self.hanging: set[str] = set()
        self.limit = limit
        self.requests: list[tuple[str, str, bool]] = []
        self.closing = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.answer(self)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.redirects = {
            "loop": f"http://images.test:{self.port}/loop",
            "to-metadata": "http://metadata.test/latest/meta-data",
            "to-metadata-literal": "http://169.254.169.254/latest/meta-data",
            "to-private": "http://10.255.255.1/a.png",
            "to-private-name": f"http://other.test:{self.port}/data/upload/1/good-1.png",
            "to-own": f"http://127.0.0.1:{self.port}/data/upload/1/good-1.png",
            "to-file": "file:///etc/passwd",
            "to-unknown": "http://evil.test/a.png",
            "to-garbage": "http://[bad/",
            "to-nothing": "",
            "to-here": "/data/upload/1/good-2.png",
        }

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        path = to.path.partition("?")[0]
        self.requests.append((to.headers.get("Host", ""), path, "authorization" in to.headers))
        name = path.strip("/").rpartition("/")[2]
        try:
            if path in self.hanging:
                self._give(to, self.files[path][: len(self.files[path]) // 2], told=len(self.files[path]))
                to.wfile.flush()
                self.closing.wait(300)
            elif path in self.files:
                self._give(to, self.files[path])
            elif name in self.redirects:
                to.send_response(302)
                to.send_header("Location", self.redirects[name])
                to.end_headers()
            elif name.isdigit():
                to.send_error(int(name))
            else:
                getattr(self, f"_{name.replace('-', '_')}", lambda to: to.send_error(404))(to)
        except (BrokenPipeError, ConnectionResetError):
            pass  # who asked has had enough
        to.close_connection = True

    def _give(self, to: BaseHTTPRequestHandler, data: bytes, told: int | None = None, **headers: str) -> None:
        to.send_response(200)
        to.send_header("Content-Length", str(len(data) if told is None else told))
        for key, value in headers.items():
            to.send_header(key.replace("_", "-"), value)
        to.end_headers()
        to.wfile.write(data)

    def _large(self, to: BaseHTTPRequestHandler) -> None:
        self._give(to, bytes(self.limit + 1))

    def _endless(self, to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.end_headers()
        while not self.closing.is_set():
            to.wfile.write(bytes(50_000))

    def _cut(self, to: BaseHTTPRequestHandler) -> None:
        self._give(to, saved(noise(1), "PNG")[:100], told=5000)

    def _packed(self, to: BaseHTTPRequestHandler) -> None:
        self._give(to, gzip.compress(bytes(10_000_000)), Content_Encoding="gzip")

    def _slow(self, to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.end_headers()
        for byte in saved(noise(1), "PNG"):
            if self.closing.wait(0.2):
                return
            to.wfile.write(bytes([byte]))

    def _drip(self, to: BaseHTTPRequestHandler) -> None:
        """A status line that never ends."""
        while not self.closing.wait(0.2):
            to.wfile.write(b"H")
            to.wfile.flush()

    def _stall(self, to: BaseHTTPRequestHandler) -> None:
        self.closing.wait(300)

    def _noise(self, to: BaseHTTPRequestHandler) -> None:
        to.wfile.write(b"\x00\x01 this is no HTTP\r\n\r\n")
