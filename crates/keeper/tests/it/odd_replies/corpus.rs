//! Replies of token endpoints that are odd: each is the bytes that a server writes, and what it does then.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::bodies;

/// The access token that every reply brings.
pub(crate) const ACCESS: &str = "at-1-xxxxxxxx";
/// The refresh token that every reply brings, but those that say so.
pub(crate) const REFRESH: &str = "rt-1-yyyyyyyy";

pub(super) const JSON: &[u8] =
    br#"{"access_token":"at-1-xxxxxxxx","token_type":"Bearer","expires_in":3600,"refresh_token":"rt-1-yyyyyyyy"}"#;
pub(super) const FORM: &[u8] =
    b"access_token=at-1-xxxxxxxx&token_type=Bearer&expires_in=3600&refresh_token=rt-1-yyyyyyyy";

/// What the server does once it has written its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Close,
    Reset,
    /// It waits for the client to close.
    Wait,
}

/// One reply.
#[derive(Clone, Debug)]
pub(crate) struct OddReply {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) then: Then,
    /// Whether its tokens are to be read.
    pub(crate) readable: bool,
}

impl OddReply {
    /// A reply that is to be read, before the server closes the connection.
    pub(super) fn new(name: impl Into<String>, head: &[u8], body: &[u8]) -> Self {
        let bytes = [head, b"\r\n", body].concat();
        Self { name: name.into(), bytes, then: Then::Close, readable: true }
    }

    /// With a usual head, and the length of the body.
    pub(super) fn usual(name: impl Into<String>, content_type: &str, body: &[u8]) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n");
        Self::new(name, head.as_bytes(), body)
    }

    pub(super) fn then(self, then: Then) -> Self {
        Self { then, ..self }
    }

    pub(super) fn unreadable(self) -> Self {
        Self { readable: false, ..self }
    }
}

pub(crate) fn heads() -> Vec<OddReply> {
    [status_lines(), header_lines(), content_types(), line_ends()].concat()
}

pub(crate) fn ends() -> Vec<OddReply> {
    [lengths(), chunks(), broken_chunks()].concat()
}

pub(crate) fn contents() -> Vec<OddReply> {
    [
        bodies::character_sets(),
        bodies::old_characters(),
        bodies::dialects(),
        bodies::fields(),
        bodies::forms(),
        bodies::no_tokens(),
    ]
    .concat()
}

/// All of them; each has a name of its own.
pub(crate) fn corpus() -> Vec<OddReply> {
    [heads(), ends(), codings(), contents()].concat()
}

/// That many texts, one after the other.
pub(super) fn numbered(count: usize, text: impl Fn(usize) -> String) -> String {
    let mut all = String::new();
    for index in 0..count {
        all.push_str(&text(index));
    }
    all
}

fn sized(extra: &[u8]) -> Vec<u8> {
    let length = format!("Content-Length: {}\r\n", JSON.len());
    [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", extra, length.as_bytes()].concat()
}

fn status_lines() -> Vec<OddReply> {
    let long = format!("HTTP/1.1 200 {}", "very ".repeat(1_600));
    let lines = [
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200",
        "HTTP/1.1 200 ",
        "HTTP/1.0 200 OK",
        "HTTP/1.0 200",
        "HTTP/1.1 200 OK: fine",
        "HTTP/1.1 200 200 OK",
        "HTTP/1.1 200 Très bien",
        "HTTP/1.1 200 \u{7f}",
        "HTTP/1.1 200 \u{1}",
        "HTTP/1.1 200 {\"ok\":true}",
        "HTTP/1.1 201 Created",
        "HTTP/1.1 202 Accepted",
        "HTTP/1.1 203 Non-Authoritative Information",
        "HTTP/1.1 206 Partial Content",
        "HTTP/1.1 208 x",
        "HTTP/1.1 226 IM Used",
        "HTTP/1.1 299 x",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200\tOK",
        "http/1.1 200 OK",
        "HTTP/1.2 200 OK",
        "HTTP/1.9 200 OK",
        "HTTP/2 200",
        "HTTP/2.0 200 OK",
        "HTTP/1.1 200OK",
        "\r\nHTTP/1.1 200 OK",
        &long,
    ];
    let head = |line: &str| {
        format!("{line}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", JSON.len())
    };
    let named = |line: &&str| {
        OddReply::new(
            format!("status line {:.40}", line.escape_debug().to_string()),
            head(line).as_bytes(),
            JSON,
        )
    };
    let latin = [b"HTTP/1.1 200 Tr\xe8s bien\r\n", &sized(b"")[17..]].concat();
    let informational = [
        "100 Continue\r\n\r\n",
        "102 Processing\r\n\r\n",
        "103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n",
        "103 Early Hints\r\nContent-Length: 5\r\n\r\n",
        "199 \r\nContent-Type: text/html\r\n\r\n",
        "100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\n\r\n",
    ];
    let before = |first: &&str| {
        let head = [format!("HTTP/1.1 {first}").as_bytes(), &sized(b"")].concat();
        OddReply::new(format!("after {}", first.escape_debug()), &head, JSON)
    };
    let mut replies: Vec<_> = lines.iter().map(named).chain(informational.iter().map(before)).collect();
    replies.push(OddReply::new("status line in latin-1", &latin, JSON));
    replies
}

/// Lines that stand among the headers.
const HEADER_LINES: [&[u8]; 58] = [
    b"Access-Control-Allow-Credentials : true",
    b"X-Tab\t: x",
    b"X Powered By: PHP",
    b"no colon here",
    b": no name",
    b":",
    b"X-Empty:",
    b"X-Close:x",
    b"X-Tab:\tx\t",
    b"Set-Cookie: a=b; domain=\x7fx.com",
    b"X-Bell: \x07",
    b"X-Escape: \x1b[0m",
    b"X-Latin: M\xfcller",
    "X-Utf: Müller".as_bytes(),
    b"X-L\xe4tin: x",
    b"X-Nul: a\0b",
    b"X-Return: a\rb",
    b"X-Folded: a\r\n b",
    b"X-Folded: a\r\n\tb\r\n\tc",
    b"X-Folded:\r\n a",
    b"X-Folded: a\r\n ",
    b" X-Indented: a",
    b"(comment): x",
    b"X-{braces}: x",
    b"\"X-Quoted\": x",
    b"X/Slash: x",
    b"X@At: x",
    b"X[0]: x",
    b"HTTP/1.1 200 OK",
    b"Warning: mysql_connect(): Access denied in /srv/x.php on line 3",
    b"Connection: keep-alive",
    b"Connection: close, keep-alive",
    b"Keep-Alive: timeout=5, max=100",
    b"Proxy-Connection: keep-alive",
    b"Upgrade: h2c\r\nConnection: Upgrade",
    b"Trailer: X-Late",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding:",
    b"Content-Encoding:",
    b"Content-Encoding: identity",
    b"Content-Encoding: none",
    b"Content-Encoding: UTF-8",
    b"Content-Encoding: gzip",
    b"Content-Encoding: deflate",
    b"Date: yesterday",
    b"Date: ",
    b"Retry-After: soon",
    b"Expires: -1",
    b"Location: https://sso.example.com/elsewhere",
    b"Content-Range: bytes 0-9/10",
    b"Content-Disposition: attachment; filename=token.json",
    b"Content-Location: /x\r\nContent-MD5: wrong",
    b"WWW-Authenticate: Basic",
    b"Strict-Transport-Security: max-age=0",
    b"Set-Cookie: a=b\r\nSet-Cookie: a=b\r\nset-cookie: c",
    b"Public-Key-Pins: \"\"",
    b"Content-Length : 5",
    b"Transfer-Encoding : chunked-not",
];

fn header_lines() -> Vec<OddReply> {
    let one = |line: &&[u8]| {
        let name = format!("header {}", line.escape_ascii());
        OddReply::new(name, &sized(&[line, b"\r\n".as_slice()].concat()), JSON)
    };
    let mut replies: Vec<_> = HEADER_LINES.iter().map(one).collect();
    for count in [50, 95, 99, 120, 200, 500, 2_000] {
        let many = numbered(count, |index| format!("X-Line-{index}: {index}\r\n"));
        replies.push(OddReply::new(format!("{count} header lines"), &sized(many.as_bytes()), JSON));
    }
    let large = numbered(90, |index| format!("X-Line-{index}: {}\r\n", "x".repeat(3_200)));
    replies.push(OddReply::new("header lines of 290,000 bytes", &sized(large.as_bytes()), JSON));
    for length in [4_000, 8_000, 16_000, 60_000, 90_000] {
        let long = format!("X-Long: {}\r\n", "x".repeat(length));
        replies.push(OddReply::new(format!("a header of {length} bytes"), &sized(long.as_bytes()), JSON));
        let long = format!("X-{}: x\r\n", "x".repeat(length));
        replies.push(OddReply::new(
            format!("a header name of {length} bytes"),
            &sized(long.as_bytes()),
            JSON,
        ));
    }
    replies
}

fn content_types() -> Vec<OddReply> {
    let types = [
        "",
        "json",
        "/",
        "application/json;charset=UTF-8",
        "application/json; charset",
        "application/json; charset=",
        "application/json; charset=\"utf-8\"",
        "application/json; charset='utf-8'",
        "application/json; charset=utf8; charset=latin1",
        "application/json; charset=none",
        "application/json; charset=iso-8859-1",
        "application/json; charset=windows-1252",
        "application/json; charset=us-ascii",
        "application/json; odata.metadata=minimal",
        "application/json, application/json",
        "APPLICATION/JSON",
        "application/vnd.api+json",
        "application/jwt",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "application/xml",
        "application/javascript",
        "multipart/form-data; boundary=x",
        "text/json",
        "text/plain",
        "text/plain; charset=iso-8859-1",
        "text/html",
        "text/html; charset=utf-8",
        "text/javascript",
        "image/png",
    ];
    let mut replies: Vec<_> =
        types.iter().map(|kind| OddReply::usual(format!("content type {kind:?}"), kind, JSON)).collect();
    let length = JSON.len();
    let without = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n");
    replies.push(OddReply::new("no content type", without.as_bytes(), JSON));
    let twice = sized(b"Content-Type: text/html\r\n");
    replies.push(OddReply::new("two content types", &twice, JSON));
    replies
}

fn line_ends() -> Vec<OddReply> {
    let usual = OddReply::new("", &sized(b"X-A: b\r\n"), JSON);
    let text = String::from_utf8(usual.bytes).expect("ASCII");
    let (head, _) = text.split_once("\r\n\r\n").expect("it has a body");
    let heads = [
        ("line feeds alone", format!("{}\n\n", head.replace("\r\n", "\n"))),
        ("a line feed alone after the status", format!("{}\r\n\r\n", head.replacen("\r\n", "\n", 1))),
        ("a line feed alone before the body", format!("{head}\r\n\n")),
        ("a line feed alone at the last header", format!("{head}\n\r\n")),
        ("two carriage returns", format!("{}\r\r\n\r\r\n", head.replace("\r\n", "\r\r\n"))),
    ];
    let whole = |(name, head): (&str, String)| OddReply {
        name: name.to_owned(),
        bytes: [head.as_bytes(), JSON].concat(),
        then: Then::Close,
        readable: true,
    };
    heads.into_iter().map(whole).collect()
}

fn framed(name: &str, framing: &str, body: &[u8]) -> OddReply {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{framing}");
    OddReply::new(name, head.as_bytes(), body)
}

fn lengths() -> Vec<OddReply> {
    let n = JSON.len();
    let length = |name: &str, value: String| framed(name, &format!("Content-Length: {value}\r\n"), JSON);
    let after = |body: &[u8], rest: &str| [body, rest.as_bytes()].concat();
    vec![
        length("length with spaces", format!("   {n}  ")),
        length("length with zeros", format!("000{n}")),
        length("length with a plus", format!("+{n}")),
        length("length in a folded line", format!("\r\n {n}")),
        length("length twice in one line", format!("{n}, {n}")),
        length("length twice", format!("{n}\r\nContent-Length: {n}")),
        length("length in lower case twice", format!("{n}\r\ncontent-length: {n}")),
        length("two lengths, the first right", format!("{n}\r\nContent-Length: 5")),
        length("two lengths, the second right", format!("5\r\nContent-Length: {n}")),
        length("length too long by 1", (n + 1).to_string()),
        length("length too long", "5000".to_owned()),
        length("length too long by far", "99999999999999999999999".to_owned()),
        length("length too short by 1", (n - 1).to_string()),
        length("length too short", "20".to_owned()),
        length("length of 1", "1".to_owned()),
        length("length below zero", "-1".to_owned()),
        length("length in hexadecimal", format!("0x{n:x}")),
        length("length in words", "unknown".to_owned()),
        length("length empty", String::new()),
        length("length with a unit", format!("{n} bytes")),
        length("length too long, and a reset", "5000".to_owned()).then(Then::Reset),
        length("length too long, and nothing more", "5000".to_owned()).then(Then::Wait),
        length("length too short, and nothing more", "20".to_owned()).then(Then::Wait),
        length("length right, and nothing more", n.to_string()).then(Then::Wait),
        length("length right, and a reset", n.to_string()).then(Then::Reset),
        framed(
            "something after the length",
            &format!("Content-Length: {n}\r\n"),
            &after(JSON, "\r\n\r\nHTTP/1.1 400 x"),
        ),
        framed("no length", "", JSON),
        framed("no length, and a line", "", &after(JSON, "\r\n")),
        framed("no length, HTTP/1.0 style", "Connection: close\r\n", JSON),
        framed("no length, and nothing more", "", JSON).then(Then::Wait),
        framed("no length, and a reset", "", JSON).then(Then::Reset),
        framed("no length, keep-alive", "Connection: keep-alive\r\n", JSON).then(Then::Wait),
        framed("too long, cut in the document", "Content-Length: 5000\r\n", &JSON[..60]).unreadable(),
        framed("cut in the document", &format!("Content-Length: {n}\r\n"), &JSON[..n - 1]).unreadable(),
        framed("cut in the document by a reset", &format!("Content-Length: {n}\r\n"), &JSON[..60])
            .then(Then::Reset)
            .unreadable(),
        framed("no length, cut in the document", "", &JSON[..60]).unreadable(),
        framed("a form that is cut", "Content-Length: 5000\r\n", FORM).unreadable(),
        framed("a form of no length, and a reset", "", FORM).then(Then::Reset).unreadable(),
    ]
}

/// A body in chunks of that size.
fn chunked(body: &[u8], size: usize, line: impl Fn(usize) -> String, end: &str, last: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(size) {
        bytes.extend_from_slice(line(chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(end.as_bytes());
    }
    bytes.extend_from_slice(last.as_bytes());
    bytes
}

/// The line before a chunk of that length.
type ChunkLine = fn(usize) -> String;

fn chunks() -> Vec<OddReply> {
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
    let line = |length: usize| format!("{length:x}\r\n");
    let mut replies = Vec::new();
    for size in [1, 2, 7, 16, 64, 4_096] {
        let body = chunked(JSON, size, line, "\r\n", "0\r\n\r\n");
        replies.push(framed(&format!("chunks of {size}"), CHUNKED, &body));
    }
    let lines: [(&str, ChunkLine); 12] = [
        ("upper case", |length| format!("{length:X}\r\n")),
        ("zeros before", |length| format!("0000{length:x}\r\n")),
        ("a space after", |length| format!("{length:x} \r\n")),
        ("many spaces after", |length| format!("{length:x}      \r\n")),
        ("a space before", |length| format!(" {length:x}\r\n")),
        ("an extension", |length| format!("{length:x};a=b\r\n")),
        ("an extension in quotes", |length| format!("{length:x} ; a=\"b;c\"\r\n")),
        ("an extension without a name", |length| format!("{length:x};\r\n")),
        ("a bad extension", |length| format!("{length:x} what\r\n")),
        ("a long extension", |length| format!("{length:x};{}\r\n", "x".repeat(2_000))),
        ("a line feed alone", |length| format!("{length:x}\n")),
        ("0x before", |length| format!("0x{length:x}\r\n")),
    ];
    for (name, line) in lines {
        let body = chunked(JSON, 40, line, "\r\n", "0\r\n\r\n");
        replies.push(framed(&format!("chunk size with {name}"), CHUNKED, &body));
    }
    let lasts = [
        ("no empty line", "0\r\n"),
        ("no line end", "0"),
        ("zeros", "00000\r\n\r\n"),
        ("an extension", "0;x=y\r\n\r\n"),
        ("trailers", "0\r\nX-Late: a\r\nX-Later: b\r\n\r\n"),
        ("bad trailers", "0\r\nno colon\r\n: x\r\n\r\n"),
        ("something after it", "0\r\n\r\nHTTP/1.1 400 Bad Request\r\n\r\n"),
        ("line feeds alone", "0\n\n"),
    ];
    for (name, last) in lasts {
        let body = chunked(JSON, 40, line, "\r\n", last);
        replies.push(framed(&format!("last chunk with {name}"), CHUNKED, &body));
    }
    let body = chunked(JSON, 40, line, "\r\n", "0\r\n\r\n");
    for (name, framing) in [
        ("Chunked", "Transfer-Encoding: Chunked\r\n".to_owned()),
        ("CHUNKED in upper case", "TRANSFER-ENCODING: CHUNKED\r\n".to_owned()),
        ("chunked with a space before the colon", "Transfer-Encoding : chunked\r\n".to_owned()),
        ("chunked twice", format!("{CHUNKED}{CHUNKED}")),
        ("chunked twice in a line", "Transfer-Encoding: chunked, chunked\r\n".to_owned()),
        ("identity and chunked", "Transfer-Encoding: identity, chunked\r\n".to_owned()),
        ("chunked, with a length", format!("{CHUNKED}Content-Length: {}\r\n", JSON.len())),
        ("chunked, with a length that is wrong", format!("Content-Length: 5\r\n{CHUNKED}")),
        ("chunked with a parameter", "Transfer-Encoding: chunked;q=1\r\n".to_owned()),
        ("chunked in a folded line", "Transfer-Encoding:\r\n chunked\r\n".to_owned()),
        ("chunked with an empty word", "Transfer-Encoding: , chunked\r\n".to_owned()),
    ] {
        replies.push(framed(name, &framing, &body));
    }
    let old = [b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n", CHUNKED.as_bytes()].concat();
    replies.push(OddReply::new("chunked in HTTP/1.0", &old, &body));
    replies.push(framed("chunked, and nothing more", CHUNKED, &body).then(Then::Wait));
    replies
}

fn broken_chunks() -> Vec<OddReply> {
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
    let n = JSON.len();
    let json = std::str::from_utf8(JSON).expect("ASCII");
    let broken = [
        ("no last chunk", format!("{n:x}\r\n{json}\r\n")),
        ("no end of the chunk", format!("{n:x}\r\n{json}")),
        ("a size too large", format!("fff\r\n{json}\r\n0\r\n\r\n")),
        ("a size too large by 1", format!("{:x}\r\n{json}\r\n0\r\n\r\n", n + 1)),
        ("a size too small", format!("10\r\n{json}\r\n0\r\n\r\n")),
        ("no line end after the data", format!("{n:x}\r\n{json}0\r\n\r\n")),
        ("a line feed alone after the data", format!("{n:x}\r\n{json}\n0\r\n\r\n")),
        ("an empty line more", format!("{n:x}\r\n{json}\r\n\r\n0\r\n\r\n")),
        ("a last chunk that is no number", format!("{n:x}\r\n{json}\r\nend\r\n")),
        ("a size beyond all numbers", format!("ffffffffffffffffffff\r\n{json}")),
        ("no chunks at all", json.to_owned()),
        ("no chunks at all, and lines", format!("{json}\r\n\r\n")),
        ("an empty line first", format!("\r\n{n:x}\r\n{json}\r\n0\r\n\r\n")),
    ];
    let mut replies = Vec::new();
    for (name, body) in broken {
        replies.push(framed(&format!("chunked with {name}"), CHUNKED, body.as_bytes()));
    }
    let last = format!("{n:x}\r\n{json}\r\n");
    replies.push(framed("no last chunk, and a reset", CHUNKED, last.as_bytes()).then(Then::Reset));
    replies.push(framed("no last chunk, and nothing more", CHUNKED, last.as_bytes()).then(Then::Wait));
    replies.push(framed("cut inside a chunk", CHUNKED, &last.as_bytes()[..60]).unreadable());
    replies.push(
        framed("cut inside a chunk by a reset", CHUNKED, &last.as_bytes()[..60])
            .then(Then::Reset)
            .unreadable(),
    );
    replies.push(
        framed(
            "a form without a last chunk",
            CHUNKED,
            &[format!("{:x}\r\n", FORM.len()).as_bytes(), FORM, b"\r\n"].concat(),
        )
        .unreadable(),
    );
    replies
}

pub(super) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("memory takes it")
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("memory takes it")
}

fn raw_deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("memory takes it")
}

pub(crate) fn codings() -> Vec<OddReply> {
    let json = JSON.to_vec();
    let coded = [
        ("gzip", "gzip", gzip(JSON)),
        ("x-gzip", "x-gzip", gzip(JSON)),
        ("gzip in upper case", "GZIP", gzip(JSON)),
        ("gzip with a comma", "gzip,", gzip(JSON)),
        ("gzip with spaces", "  gzip ", gzip(JSON)),
        ("deflate with zlib", "deflate", zlib(JSON)),
        ("deflate without zlib", "deflate", raw_deflate(JSON)),
        ("gzip twice", "gzip, gzip", gzip(&gzip(JSON))),
        ("gzip, then deflate", "gzip, deflate", zlib(&gzip(JSON))),
        ("deflate, then gzip", "deflate, gzip", gzip(&zlib(JSON))),
        ("identity, then gzip", "identity, gzip", gzip(JSON)),
        ("deflate that is gzip", "deflate", gzip(JSON)),
        ("brotli that is gzip", "br", gzip(JSON)),
        ("utf-8 that is gzip", "utf-8", gzip(JSON)),
        ("gzip twice that is gzip once", "gzip, gzip", gzip(JSON)),
        ("gzip that is plain", "gzip", json.clone()),
        ("deflate that is plain", "deflate", json.clone()),
        ("brotli that is plain", "br", json.clone()),
        ("a coding of no name", "compress-o-matic", json),
        ("gzip in two streams", "gzip", [gzip(&JSON[..20]), gzip(&JSON[20..])].concat()),
        ("gzip with zeros after it", "gzip", [gzip(JSON), vec![0; 9]].concat()),
        ("gzip with junk after it", "gzip", [gzip(JSON), b"junk".to_vec()].concat()),
        ("gzip without its checksum", "gzip", {
            let g = gzip(JSON);
            g[..g.len() - 8].to_vec()
        }),
        ("gzip without its length", "gzip", {
            let g = gzip(JSON);
            g[..g.len() - 4].to_vec()
        }),
        ("zlib without its checksum", "deflate", {
            let z = zlib(JSON);
            z[..z.len() - 4].to_vec()
        }),
    ];
    let line = |length: usize| format!("{length:x}\r\n");
    let mut replies = Vec::new();
    for (name, header, body) in coded {
        let header = format!("Content-Encoding: {header}\r\n");
        replies.push(framed(
            &format!("{name}, by its length"),
            &format!("{header}Content-Length: {}\r\n", body.len()),
            &body,
        ));
        replies.push(framed(&format!("{name}, up to the end"), &header, &body));
        let chunks = chunked(&body, 50, line, "\r\n", "0\r\n\r\n");
        replies.push(framed(
            &format!("{name}, in chunks"),
            &format!("{header}Transfer-Encoding: chunked\r\n"),
            &chunks,
        ));
    }
    replies.extend(undeclared_codings());
    replies
}

/// Replies whose coding no header tells, or another one than usual.
fn undeclared_codings() -> Vec<OddReply> {
    let line = |length: usize| format!("{length:x}\r\n");
    let mut replies = Vec::new();
    let body = gzip(JSON);
    let chunks = chunked(&body, 50, line, "\r\n", "0\r\n\r\n");
    replies.push(framed("gzip without a header", &format!("Content-Length: {}\r\n", body.len()), &body));
    let bare = zlib(JSON);
    replies.push(framed("zlib without a header", &format!("Content-Length: {}\r\n", bare.len()), &bare));
    replies.push(framed("zlib without a header, up to the end", "", &bare));
    replies.push(framed("zlib without a header, cut", "", &bare[..bare.len() / 2]).unreadable());
    replies.push(framed("gzip twice without a header", "", &gzip(&body)));
    replies.push(framed("gzip of the transfer", "Transfer-Encoding: gzip, chunked\r\n", &chunks));
    replies.push(framed("gzip of the transfer without chunks", "Transfer-Encoding: gzip\r\n", &body));
    replies.push(framed("gzip of a form", "Content-Encoding: gzip\r\n", &gzip(FORM)));
    let form = gzip(FORM);
    let end = form.len() - 8;
    replies.push(framed("gzip of a form without its checksum", "Content-Encoding: gzip\r\n", &form[..end]));
    let half = &body[..body.len() / 2];
    replies.push(framed("half of a gzip", "Content-Encoding: gzip\r\n", half).unreadable());
    replies.push(
        framed("gzip of a form without its end", "Content-Encoding: gzip\r\n", &form[..end - 5]).unreadable(),
    );
    replies
}
