use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const JSON: &str = r#"{"access_token":"at-1","refresh_token":"rt-1"}"#;

fn closed() -> Ending {
    Ending { in_order: true, what: "it was closed".to_owned() }
}

fn broken() -> Ending {
    Ending { in_order: false, what: "it was reset".to_owned() }
}

/// What a reply is read as when its bytes come in pieces of that many.
fn read_in(bytes: &[u8], piece: usize, ending: &Ending) -> Result<Reply, Unfinished> {
    let mut reader = ResponseReader::new();
    for piece in bytes.chunks(piece.max(1)) {
        reader.push(piece).map_err(|why| Unfinished { why, received: None })?;
    }
    reader.finish(ending)
}

fn read(text: &str) -> Result<Reply, Unfinished> {
    read_in(text.as_bytes(), usize::MAX, &closed())
}

fn body_of(text: &str) -> String {
    let reply = read(text).unwrap_or_else(|error| panic!("{text:?}: {error:?}"));
    String::from_utf8(reply.body.to_vec()).unwrap()
}

fn why(text: &str, ending: &Ending) -> String {
    read_in(text.as_bytes(), usize::MAX, ending).expect_err(text).why
}

#[test]
fn a_reply_is_complete_where_its_length_or_its_last_chunk_says_so() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na=b".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\na=\r\n01\r\nb\r\n0\r\n".to_owned(),
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
    ] {
        let mut reader = ResponseReader::new();
        let (last, all) = text.as_bytes().split_last().unwrap();
        reader.push(all).unwrap();
        assert!(!reader.is_complete(), "{text:?}");
        reader.push(&[*last]).unwrap();
        assert!(reader.is_complete(), "{text:?}");
        reader.push(b"what comes after it").unwrap();
        let reply = reader.finish(&broken()).unwrap();
        assert!(reply.cut_short.is_none() && (reply.body.is_empty() || reply.body.as_slice() == b"a=b"));
    }
}

#[test]
fn odd_heads_are_read() {
    for head in [
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 200 \r\n\r\n",
        "HTTP/1.0 200 OK\n\n",
        "http/1.1  200  fine\r\n\r\n",
        "\r\n\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nContent-Length: 1\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Credentials : true\r\nX Powered By: PHP\r\nno colon\r\n: no name\r\n\r\n",
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=b; domain=\u{7f}x.com\u{0}\r\n\r\n",
        " HTTP/1.1 200 OK\r\n  folded first: 1\r\nA: b\r\n\tc\r\n d\r\n\r\n",
    ] {
        assert_eq!(body_of(&format!("{head}{JSON}")), JSON);
    }
    let folded = read("HTTP/1.1 200 OK\r\nRetry-After:\r\n  12\r\nretry-after: 13\r\n\r\n").unwrap();
    assert_eq!(folded.retry_after.as_deref(), Some("12"));
}

#[test]
fn a_head_may_have_any_number_of_lines_up_to_its_length() {
    let head =
        |lines: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n{JSON}", "X-Line: 0123456789\r\n".repeat(lines));
    assert_eq!(body_of(&head(10_000)), JSON);
    assert!(why(&head(20_000), &closed()).contains("longer than 327680 bytes"));
    let chunk = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;{}", "x".repeat(MAX_HEAD));
    let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(20_000);
    for endless in [&chunk, &endless] {
        assert!(why(endless, &closed()).contains("longer than"));
    }
}

#[test]
fn what_is_no_http_is_refused_at_its_first_bytes() {
    for text in ["{\"access_token\":\"x\"}", "SSH-2.0", "\u{15}\u{3}\u{1}", "ICY 200 OK\r\n", "<html>"] {
        let mut reader = ResponseReader::new();
        assert!(reader.push(text.as_bytes()).is_err(), "{text}");
    }
    for text in ["HTTP/1.1 abc\r\n", "HTTP/1.1\r\n", "HTTP/1.1 99 x\r\n", "HTTP/1.1 1000 x\r\n"] {
        assert!(why(text, &closed()).contains("no status"), "{text}");
    }
}

#[test]
fn a_whole_document_is_read_whatever_is_wrong_with_its_framing() {
    let size = format!("{:x}", JSON.len());
    for (framed, fault) in [
        (format!("Content-Length: 999\r\n\r\n{JSON}"), true),
        (format!("Content-Length: 9\r\n\r\n{JSON}"), false),
        (format!("Content-Length: 9\r\nContent-Length: 10\r\n\r\n{JSON}"), true),
        (format!("Content-Length: many\r\n\r\n{JSON}"), false),
        (format!("Transfer-Encoding: chunked\r\n\r\n{size}\r\n{JSON}"), true),
        (format!("Transfer-Encoding: chunked\r\n\r\n{size}\r\n{JSON}\r\n"), true),
        (format!("Transfer-Encoding: chunked\r\n\r\n{size}\r\n{JSON}0\r\n\r\n"), true),
        (format!("Transfer-Encoding: chunked\r\n\r\nff\r\n{JSON}\r\n0\r\n\r\n"), true),
        (format!("Transfer-Encoding: chunked\r\n\r\n9\r\n{JSON}\r\n0\r\n\r\n"), true),
        (format!("Transfer-Encoding: chunked\r\n\r\n{JSON}"), true),
        (
            format!("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n\r\n0x{size} ext\r\n{JSON}\n0"),
            false,
        ),
    ] {
        for piece in [1, 7, usize::MAX] {
            let reply = read_in(format!("HTTP/1.1 200 OK\r\n{framed}").as_bytes(), piece, &closed()).unwrap();
            assert!(is_whole_document(&reply.body), "{framed}");
            assert_eq!(reply.cut_short.is_some(), fault, "{framed}");
        }
    }
}

#[test]
fn a_size_that_is_too_small_loses_nothing_of_the_document() {
    let pretty = "{\n  \"access_token\": \"at-1\",\n  \"refresh_token\": \"rt-1\"\n}";
    for size in 1..pretty.len() {
        let text =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n{pretty}\r\n0\r\n\r\n");
        let body = body_of(&text);
        assert!(
            is_whole_document(body.as_bytes()) && body.contains("at-1") && body.contains("rt-1"),
            "{body}"
        );
    }
}

#[test]
fn what_may_be_a_half_is_not_taken_for_the_whole() {
    for (framed, ending, expected) in [
        ("Content-Length: 99\r\n\r\na=b", closed(), "it was closed, 96 bytes before the end of the reply"),
        ("Content-Length: 99\r\n\r\n{\"a\":", closed(), "94 bytes before"),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n", closed(), "before the last chunk"),
        ("Transfer-Encoding: chunked\r\n\r\na=b", closed(), "before the last chunk"),
        ("\r\na=b", broken(), "it was reset, and nothing says where"),
        ("Content-Length: 3\r\nContent-Length: 4\r\n\r\na=b", closed(), "two lengths"),
        ("Content-Encoding: gzip\r\n\r\n\u{1f}", broken(), "it was reset"),
    ] {
        let text = format!("HTTP/1.1 200 OK\r\n{framed}");
        let unfinished = read_in(text.as_bytes(), usize::MAX, &ending).unwrap_err();
        assert!(unfinished.why.contains(expected), "{framed:?}: {}", unfinished.why);
        let (status, body) = unfinished.received.unwrap();
        assert!(status == 200 && !body.is_empty());
    }
    assert_eq!(why("", &broken()), "it was reset before a byte of the reply came");
    assert_eq!(why("HTTP/1.1 200 OK\r\nA: b", &closed()), "it was closed in the head of the reply");
}

#[test]
fn a_broken_document_of_the_right_length_is_a_whole_reply() {
    let reply = read("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{\"a\" and more").unwrap();
    assert_eq!((reply.body.as_slice(), reply.cut_short, reply.warnings.len()), (&b"{\"a\""[..], None, 0));
}

#[test]
fn a_body_that_is_longer_than_the_limit_is_not_read() {
    for head in ["", "Content-Length: 9999999\r\n", "Content-Length: 3\r\n"] {
        let text =
            |body: usize| format!("HTTP/1.1 200 OK\r\n{head}\r\n{JSON}{}", " ".repeat(body - JSON.len()));
        assert!(read(&text(MAX_REPLY)).is_ok());
        assert!(why(&text(MAX_REPLY + 1), &closed()).contains("longer than 1048576 bytes"));
    }
}

/// Bytes that look like a reply for a while.
fn nearly_http() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Just(b"HTTP/1.1 100 \r\n\r\n".to_vec()),
        Just(b"Content-Length: 20\r\n".to_vec()),
        Just(b"Content-Length: 99999999999999999999\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"Content-Encoding: gzip, deflate\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"ffffffffffffffff\r\n".to_vec()),
        Just(b"fffffffffffffffffff\r\n".to_vec()),
        Just(b"5\r\n".to_vec()),
        Just(JSON.as_bytes().to_vec()),
        vec(any::<u8>(), 0..20),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic_and_how_they_are_cut_changes_nothing(
        bytes in nearly_http(), begins in any::<bool>(), piece in 1..40_usize, in_order in any::<bool>()
    ) {
        let bytes = if begins { [b"HTTP/1.1 200 OK\r\n".as_slice(), &bytes].concat() } else { bytes };
        let ending = Ending { in_order, what: "it ended".to_owned() };
        let whole = read_in(&bytes, usize::MAX, &ending).map_err(|error| (error.why, error.received));
        let cut = read_in(&bytes, piece, &ending).map_err(|error| (error.why, error.received));
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn any_body_comes_through_any_chunks(
        body in vec(any::<u8>(), 1..600), sizes in vec(1..100_usize, 1..20), piece in 1..50_usize
    ) {
        // What would be undone as a coding is another test.
        prop_assume!(!body.starts_with(&[0x1f, 0x8b]));
        let mut text = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n".to_vec();
        let (mut rest, mut sizes) = (body.as_slice(), sizes.into_iter().cycle());
        while !rest.is_empty() {
            let (chunk, after) = split_at_most(rest, sizes.next().unwrap() as u64);
            text.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
            text.extend_from_slice(chunk);
            text.extend_from_slice(b"\r\n");
            rest = after;
        }
        text.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
        let reply = read_in(&text, piece, &broken()).unwrap();
        prop_assert_eq!((reply.body.as_slice(), reply.cut_short), (body.as_slice(), None));
    }

    #[test]
    fn a_reply_that_is_cut_anywhere_gives_the_whole_document_or_none(cut in 0..400_usize, framing in 0..3_usize) {
        let framing = match framing {
            0 => format!("Content-Length: {}\r\n\r\n{JSON}", JSON.len()),
            1 => format!("Transfer-Encoding: chunked\r\n\r\n10\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n", &JSON[..16], JSON.len() - 16, &JSON[16..]),
            _ => format!("\r\n{JSON}"),
        };
        let text = format!("HTTP/1.1 200 OK\r\n{framing}");
        if let Ok(reply) = read_in(&text.as_bytes()[..cut.min(text.len())], usize::MAX, &broken()) {
            prop_assert!(is_whole_document(&reply.body));
            prop_assert!(reply.body.starts_with(JSON.as_bytes()));
        }
    }
}
