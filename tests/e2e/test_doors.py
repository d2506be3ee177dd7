# SPDX-License-Identifier: Apache-2.0
"""The doors under attack: what is no request, what two readers would read differently, what never
ends. The daemon lives, says what is wrong, and takes nothing that it did not answer."""
import socket
import unittest

from test_run import Case

HEAD = b"POST /v1/events/clicks HTTP/1.1\r\nHost: x\r\n"
EVENT = b'{"id":"a"}'
PLAIN = HEAD + b"Content-Length: 10\r\n\r\n" + EVENT
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"\r\n0\r\n\r\n"
HIDDEN = HEAD + b"Content-Length: 15\r\n\r\n" + b'{"id":"hidden"}'
KEPT = "bidlake_capture_events_kept_total"


def with_length(value):
    return HEAD + b"Content-Length:" + value + b"\r\n\r\n" + EVENT


def with_coding(lines, version=b"1.1"):
    return HEAD.replace(b"1.1", version) + lines + b"\r\n\r\na\r\n" + EVENT + END


# Two readers could see different ends of these: what one takes for a body, the other takes for
# the next request.
SPLIT = {
    "both lengths": with_coding(b"Content-Length: 4\r\nTransfer-Encoding: chunked"),
    "both, turned": with_coding(b"Transfer-Encoding: chunked\r\nContent-Length: 4"),
    "two lengths": with_length(b" 10\r\nContent-Length: 11"),
    "one length twice": with_length(b" 10\r\nContent-Length: 10"),
    "a list of lengths": with_length(b" 10, 10"),
    "length +": with_length(b" +10"),
    "length -": with_length(b" -10"),
    "length in hex": with_length(b" 0xa"),
    "length with a tail": with_length(b" 10x"),
    "length in two": with_length(b" 1 0"),
    "no length": with_length(b""),
    "blank before the colon": HEAD + b"Content-Length : 10\r\n\r\n" + EVENT,
    "coding with a blank": with_coding(b"Transfer-Encoding : chunked"),
    "coding identity": with_coding(b"Transfer-Encoding: identity"),
    "coding of two": with_coding(b"Transfer-Encoding: gzip, chunked"),
    "coding behind": with_coding(b"Transfer-Encoding: chunked, gzip"),
    "coding misspelt": with_coding(b"Transfer-Encoding: xchunked"),
    "coding with a tab": with_coding(b"Transfer-Encoding: \x0bchunked"),
    "coding twice": with_coding(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    "coding in 1.0": with_coding(b"Transfer-Encoding: chunked", b"1.0"),
    "first header folded": HEAD.replace(b"Host", b" Host") + b"Content-Length: 10\r\n\r\n" + EVENT,
    "no name": HEAD + b": x\r\nContent-Length: 10\r\n\r\n" + EVENT,
    "no colon": HEAD + b"X\r\nContent-Length: 10\r\n\r\n" + EVENT,
    "two hosts": HEAD + b"Host: y\r\nContent-Length: 10\r\n\r\n" + EVENT,
    "no host": PLAIN.replace(b"Host", b"Toast"),
    "folded": HEAD + b"X: a\r\n b\r\nContent-Length: 10\r\n\r\n" + EVENT,
    "folded length": HEAD + b"Content-Length:\r\n 10\r\n\r\n" + EVENT,
    "LF alone": PLAIN.replace(b"\r\n", b"\n"),
    "LF in a header": HEAD + b"X: a\nContent-Length: 10\r\n\r\n" + EVENT,
    "CR in a header": HEAD + b"X: a\rContent-Length: 5\r\nContent-Length: 10\r\n\r\n" + EVENT,
    "NUL in a header": HEAD + b"X: a\0b\r\nContent-Length: 10\r\n\r\n" + EVENT,
    "NUL in the path": PLAIN.replace(b"clicks", b"clicks\0x"),
    "two blanks": PLAIN.replace(b"POST ", b"POST  "),
    "a blank in the path": PLAIN.replace(b"clicks", b"clicks x"),
    "HTTP/0.9": b"GET /px/clicks?id=a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x00\xc6\x01\x00\x00\xc2\x03\x03",
    "chunk with LF": CHUNKED + b"a\n" + EVENT + b"\n0\n\n",
    "LF in an extension": CHUNKED + b"a;x\n" + EVENT + END,
    "trailer with LF": CHUNKED + b"a\r\n" + EVENT + b"\r\n0\r\nX: y\n\r\n",
    "chunk of many digits": CHUNKED + b"0" * 40 + b"a\r\n" + EVENT + END,
    "extensions without end": CHUNKED + b"a;" + b"x" * 100000 + b"\r\n" + EVENT + END,
    "trailers without end": CHUNKED + b"a\r\n" + EVENT + b"\r\n0\r\n" + b"X: y\r\n" * 10000,
    "chunk in 0x": CHUNKED + b"0xa\r\n" + EVENT + END,
    "chunk -": CHUNKED + b"-a\r\n" + EVENT + END,
    "chunk +": CHUNKED + b"+a\r\n" + EVENT + END,
    "chunk with a blank": CHUNKED + b" a\r\n" + EVENT + END,
    "chunk without size": CHUNKED + b"\r\n" + EVENT + END,
    "chunk too long": CHUNKED + b"9\r\n" + EVENT + END,
    "chunk without line end": CHUNKED + b"a\r\n" + EVENT + b"0\r\n\r\n",
    "chunk beyond 64 bits": CHUNKED + b"1000000000000000a\r\n" + EVENT + END,
}


class Requests(Case):
    def exchange(self, agent, data):
        """All that comes back for these bytes, until the agent closes the connection."""
        with socket.create_connection(("127.0.0.1", agent.port), timeout=20) as connection:
            answer = b""
            try:
                connection.sendall(data)
                while got := connection.recv(65536):
                    answer += got
            except ConnectionResetError:
                pass
            return answer

    def test_requests_of_which_the_end_is_in_doubt(self):
        """Behind a proxy a stranger could hide a request in another one's body."""
        agent = self.start()
        for name, data in SPLIT.items():
            with self.subTest(name):
                answer = self.exchange(agent, data + HIDDEN)
                self.assertRegex(answer, rb"^HTTP/1\.1 4(00|13) ")
                self.assertNotIn(b" 200 OK", answer)
        self.assertEqual(agent.metric(KEPT), 0)
        # The same way, but with its end where everybody sees it: both are taken.
        fine = with_coding(b"Transfer-Encoding: chunked")
        answer = self.exchange(agent, fine + HIDDEN.replace(b"Host", b"Connection: close\r\nHost"))
        self.assertEqual((answer.count(b" 200 OK"), agent.metric(KEPT)), (2, 2))
        agent.stop()


if __name__ == "__main__":
    unittest.main()
