//! Reading the reply of a token endpoint: HTTP/1.x, as leniently as common clients read it.
//!
//! A reply may be the only copy of a one-time token, and its connection carries nothing after it. So what a header says of the
//! length of a body is believed as long as it makes sense; where it does not, a JSON document that is whole counts as the
//! body. Of anything else a half is not distinguished from the whole, and is not taken for it.

use jeton_core::keep::provider::{Reply, is_whole_document};
use zeroize::Zeroizing;

use super::content_coding;

/// The longest body that is read, in bytes.
pub(crate) const MAX_REPLY: usize = 1024 * 1024;

/// The longest head, in bytes, with informational replies before it; curl reads 300 KiB. How many lines there are does not
/// matter.
const MAX_HEAD: usize = 320 * 1024;

/// How a connection ended.
#[derive(Debug)]
pub(super) struct Ending {
    /// The server closed it in good order.
    pub(super) in_order: bool,
    /// What happened, such as "the server closed the connection".
    pub(super) what: String,
}

/// A reply that is not whole.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// Why, with nothing of the reply.
    pub(super) why: String,
    /// Its status and what came of its body, where the head was whole.
    pub(super) received: Option<(u16, Zeroizing<Vec<u8>>)>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    StatusLine,
    Header,
    /// That many bytes of the body.
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    /// The body, up to the end of the connection.
    RestOfConnection,
    /// The reply is whole.
    Nothing,
}

/// What the head says.
#[derive(Debug, Default)]
struct Head {
    status: u16,
    retry_after: Option<String>,
    content_type: Option<String>,
    date: Option<String>,
    location: Option<String>,
    /// In the order in which they were applied.
    content_codings: Vec<String>,
    transfer_codings: Vec<String>,
    /// Different values of `Content-Length`.
    lengths: Vec<u64>,
}

/// Reads one reply from its bytes, as they come in.
#[derive(Debug)]
pub(super) struct ResponseReader {
    expect: Expect,
    /// A line whose end has not come.
    line: Zeroizing<Vec<u8>>,
    /// A header that the next line may continue.
    field: Vec<u8>,
    head_bytes: usize,
    head: Head,
    body: Zeroizing<Vec<u8>>,
    /// Where the body ends by its `Content-Length`, and a JSON document does not.
    declared: Option<usize>,
    /// Why the body may not be whole.
    fault: Option<String>,
}

impl ResponseReader {
    pub(super) fn new() -> Self {
        Self {
            expect: Expect::StatusLine,
            line: Zeroizing::default(),
            field: Vec::new(),
            head_bytes: 0,
            head: Head::default(),
            body: Zeroizing::default(),
            declared: None,
            fault: None,
        }
    }

    /// Whether nothing of the reply is missing.
    pub(super) fn is_complete(&self) -> bool {
        self.expect == Expect::Nothing
    }

    /// Whether nothing has come yet.
    pub(super) fn is_empty(&self) -> bool {
        self.expect == Expect::StatusLine && self.head_bytes == 0
    }

    /// Whether the body is a whole JSON document, though the reply is not complete.
    pub(super) fn holds_whole_document(&self) -> bool {
        is_whole_document(&content_coding::undo(&self.body, &self.codings(), MAX_REPLY).body)
    }

    /// Takes what came in; what comes after a complete reply is left.
    ///
    /// # Errors
    /// It is no HTTP, or it is too long.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            bytes = match self.expect {
                Expect::Nothing => return Ok(()),
                Expect::StatusLine | Expect::Header | Expect::ChunkSize | Expect::ChunkEnd => {
                    self.push_line(bytes)?
                }
                Expect::RestOfConnection => {
                    self.extend(bytes)?;
                    &[]
                }
                Expect::Length(left) => {
                    let (part, rest) = split_at_most(bytes, left);
                    self.expect = Expect::Length(left - part.len() as u64);
                    self.extend(part)?;
                    if self.expect == Expect::Length(0) {
                        self.end_of_length();
                    }
                    rest
                }
                Expect::ChunkData(left) => {
                    let (part, rest) = split_at_most(bytes, left);
                    let left = left - part.len() as u64;
                    self.expect = if left == 0 { Expect::ChunkEnd } else { Expect::ChunkData(left) };
                    self.extend(part)?;
                    rest
                }
            };
        }
        Ok(())
    }

    /// The reply, once it is complete or its connection has ended.
    pub(super) fn finish(mut self, ending: &Ending) -> Result<Reply, Unfinished> {
        let what = &ending.what;
        if self.expect == Expect::ChunkSize && chunk_size(&self.line) == Some(0) {
            self.expect = Expect::Nothing;
        }
        let mut warnings = Vec::new();
        let fault = match self.expect {
            Expect::StatusLine | Expect::Header => {
                let place = if self.is_empty() {
                    "before a byte of the reply came"
                } else {
                    "in the head of the reply"
                };
                return Err(Unfinished { why: format!("{what} {place}"), received: None });
            }
            Expect::Length(left) => Some(format!("{what}, {left} bytes before the end of the reply")),
            Expect::ChunkSize | Expect::ChunkData(_) | Expect::ChunkEnd => {
                Some(format!("{what}, before the last chunk of the reply"))
            }
            Expect::RestOfConnection if !ending.in_order => {
                Some(format!("{what}, and nothing says where the reply ends"))
            }
            Expect::RestOfConnection | Expect::Nothing => None,
        };
        let mut fault = self.fault.take().or(fault);
        if let Some(declared) = self.declared {
            fault = None;
            if self.holds_whole_document() {
                warnings.push("the reply is longer than its `Content-Length` says".to_owned());
            } else {
                self.body.truncate(declared);
            }
        }
        let decoded = content_coding::undo(&self.body, &self.codings(), MAX_REPLY);
        let fault = fault.or(decoded.damage);
        if let Some(why) = fault.clone().filter(|_| !is_whole_document(&decoded.body)) {
            self.body.extend_from_slice(&self.line);
            return Err(Unfinished { why, received: Some((self.head.status, self.body)) });
        }
        if let Some(coding) = decoded.unknown {
            warnings
                .push(format!("the reply has the content coding `{}`, which is not known", plain(&coding)));
        }
        Ok(Reply {
            status: self.head.status,
            retry_after: self.head.retry_after,
            content_type: self.head.content_type,
            date: self.head.date,
            location: self.head.location,
            body: decoded.body,
            cut_short: fault,
            warnings,
        })
    }

    /// Takes a line, or the beginning of one; gives what comes after it.
    fn push_line<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], String> {
        let end = bytes.iter().position(|byte| *byte == b'\n').map(|index| index + 1);
        let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        self.line.extend_from_slice(part);
        if matches!(self.expect, Expect::StatusLine | Expect::Header) {
            self.head_bytes += part.len();
        }
        if self.head_bytes.max(self.line.len()) > MAX_HEAD {
            return Err(format!("the head of the reply, or of a chunk, is longer than {MAX_HEAD} bytes"));
        }
        // What cannot become the line that is expected is known before its end, which may never come.
        match self.expect {
            Expect::StatusLine if !may_be_status_line(&self.line) => {
                return Err("what came is no reply of HTTP/1.1".to_owned());
            }
            Expect::ChunkSize if !may_be_chunk_size(&self.line) => self.lose_chunks()?,
            Expect::ChunkEnd if !trim_line_end(&self.line).is_empty() => self.lose_chunks()?,
            _ if end.is_some() => self.end_of_line()?,
            _ => {}
        }
        Ok(rest)
    }

    fn end_of_line(&mut self) -> Result<(), String> {
        let line = std::mem::take(&mut self.line);
        let text = trim_line_end(&line);
        match self.expect {
            Expect::StatusLine if text.is_empty() => {}
            Expect::StatusLine => {
                self.head.status = status(text).ok_or("the reply has no status that can be read")?;
                self.expect = Expect::Header;
            }
            Expect::Header if text.is_empty() => {
                self.end_of_field();
                self.begin_body();
            }
            Expect::Header if text[0].is_ascii_whitespace() && !self.field.is_empty() => {
                self.field.push(b' ');
                self.field.extend_from_slice(text.trim_ascii());
            }
            Expect::Header => {
                self.end_of_field();
                self.field = text.to_vec();
            }
            Expect::ChunkSize => match chunk_size(text) {
                _ if text.is_empty() => {}
                // Trailers say nothing that matters here.
                Some(0) => self.expect = Expect::Nothing,
                Some(size) => self.expect = Expect::ChunkData(size),
                None => {
                    self.line = line;
                    self.lose_chunks()?;
                }
            },
            Expect::ChunkEnd => self.expect = Expect::ChunkSize,
            Expect::Length(_) | Expect::ChunkData(_) | Expect::RestOfConnection | Expect::Nothing => {}
        }
        Ok(())
    }

    fn end_of_field(&mut self) {
        let field = std::mem::take(&mut self.field);
        // A line without a colon is no header, and says nothing.
        let Some(colon) = field.iter().position(|byte| *byte == b':') else { return };
        let name = field[..colon].trim_ascii().to_ascii_lowercase();
        let value = String::from_utf8_lossy(field[colon + 1..].trim_ascii()).into_owned();
        let head = &mut self.head;
        // Parameters, as in `chunked;q=1`, mean nothing here.
        let word = |part: &str| part.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let words = || value.split(',').map(word).filter(|word| !word.is_empty());
        match name.as_slice() {
            b"content-length" => {
                let lengths = words().filter_map(|word| word.parse::<u64>().ok());
                head.lengths.extend(lengths);
                head.lengths.sort_unstable();
                head.lengths.dedup();
            }
            b"transfer-encoding" => head.transfer_codings.extend(words()),
            b"content-encoding" => head.content_codings.extend(words()),
            b"retry-after" => _ = head.retry_after.get_or_insert(value),
            b"content-type" => _ = head.content_type.get_or_insert(value),
            b"date" => _ = head.date.get_or_insert(value),
            b"location" => _ = head.location.get_or_insert(value),
            _ => {}
        }
    }

    fn begin_body(&mut self) {
        let Head { status, transfer_codings, lengths, .. } = &self.head;
        self.expect = match (status, lengths.as_slice()) {
            // Informational (RFC 9110, section 15.2): the reply comes after it.
            (100 | 102..=199, _) => {
                self.head = Head::default();
                Expect::StatusLine
            }
            (204 | 304, _) => Expect::Nothing,
            _ if transfer_codings.iter().any(|coding| coding == "chunked") => Expect::ChunkSize,
            (_, []) => Expect::RestOfConnection,
            (_, [0]) => Expect::Nothing,
            (_, [length]) => Expect::Length(*length),
            _ => {
                self.fault = Some("the reply has two lengths".to_owned());
                Expect::RestOfConnection
            }
        };
    }

    /// All of the body has come that its length promises. A JSON document that goes on is read on.
    fn end_of_length(&mut self) {
        let begins_json = matches!(self.body.trim_ascii_start().first(), Some(b'{' | b'['));
        if begins_json && !is_whole_document(&self.body) {
            self.declared = Some(self.body.len());
            self.expect = Expect::RestOfConnection;
        } else {
            self.expect = Expect::Nothing;
        }
    }

    /// Reads on without chunks where what came is none, or ends elsewhere than its size says.
    fn lose_chunks(&mut self) -> Result<(), String> {
        self.fault.get_or_insert_with(|| "the chunks of the reply cannot be followed".to_owned());
        self.expect = Expect::RestOfConnection;
        let line = std::mem::take(&mut self.line);
        self.extend(&line)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.body.len() + bytes.len() > MAX_REPLY {
            return Err(format!("the reply is longer than {MAX_REPLY} bytes"));
        }
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    /// Content codings, and those of the transfer, which were applied after them.
    fn codings(&self) -> Vec<String> {
        let transfer = self.head.transfer_codings.iter().filter(|coding| *coding != "chunked");
        self.head.content_codings.iter().chain(transfer).cloned().collect()
    }
}

fn split_at_most(bytes: &[u8], length: u64) -> (&[u8], &[u8]) {
    bytes.split_at(usize::try_from(length).map_or(bytes.len(), |length| length.min(bytes.len())))
}

fn trim_line_end(mut line: &[u8]) -> &[u8] {
    while let [text @ .., b'\r' | b'\n'] = line {
        line = text;
    }
    line
}

/// Whether a line, or the beginning of one, may be a status line; empty lines before it are passed over.
fn may_be_status_line(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    let expected = b"HTTP/";
    let length = line.len().min(expected.len());
    line[..length].eq_ignore_ascii_case(&expected[..length])
}

/// The status of a status line (RFC 9112, section 4), whose reason may be missing.
fn status(line: &[u8]) -> Option<u16> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (_version, status) = (words.next()?, words.next()?);
    let digits = status.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let status = std::str::from_utf8(&status[..digits]).ok()?.parse().ok()?;
    (100..=999).contains(&status).then_some(status)
}

fn may_be_chunk_size(line: &[u8]) -> bool {
    line.trim_ascii_start().first().is_none_or(u8::is_ascii_hexdigit)
}

/// The size of a chunk (RFC 9112, section 7.1), whatever extensions come after it.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let line = line.trim_ascii_start();
    let line = line.strip_prefix(b"0x").unwrap_or(line);
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, after) = line.split_at(digits);
    if after
        .first()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'=' | b'-' | b'.'))
    {
        return None;
    }
    let size = std::str::from_utf8(size).ok()?;
    // Nobody sends that much: what does not fit is a chunk that does not end.
    if size.len() > 16 { Some(u64::MAX) } else { u64::from_str_radix(size, 16).ok() }
}

/// A word of a server, for a message.
fn plain(word: &str) -> String {
    word.chars().filter(|c| c.is_ascii_graphic() && *c != '`').take(40).collect()
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
