//! A container's log as conmon writes it to its file, in the form of the CRI: on each line a time, the stream, `F` for a
//! whole line of the container's or `P` for a part of one, and what it wrote.
//!
//! Podman's own answers are not used where the file can be read: they have times of whole seconds, and of the last
//! lines they mix up one that has no end.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use skiff_shared::wire::stream::LogsRequest;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

/// How much of a file is read at once.
const CHUNK: usize = 32 * 1024;
/// conmon cuts what a container writes into parts of 8 KiB: a longer line is none of its own.
const MAX_LINE: usize = 64 * 1024;

/// What is asked for of a log.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    since_ms: Option<i64>,
    timestamps: bool,
    /// Lines that are passed over first.
    skip: u64,
    /// Bytes that may still be sent.
    left: u64,
}

/// Turns the bytes of a log file into what is sent of them. Pure.
#[derive(Debug)]
struct Lines {
    wanted: Wanted,
    buffer: BytesMut,
    /// The last part sent had no end.
    inside: bool,
}

/// One line of the file.
struct Entry<'a> {
    at: Timestamp,
    whole: bool,
    content: &'a [u8],
}

impl<'a> Entry<'a> {
    /// `None` for a line that is not of this form; `line` is without its end.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |b| *b == b' ');
        let at = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
        let (_stream, tag) = (parts.next()?, parts.next()?);
        // Only the first of several tags, which stand between colons, tells this.
        Some(Self { at, whole: tag.first() == Some(&b'F'), content: parts.next().unwrap_or_default() })
    }
}

impl Lines {
    fn new(wanted: Wanted) -> Self {
        Self { wanted, buffer: BytesMut::new(), inside: false }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// What is to be sent next of what was pushed; `None` once that is used up.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let Some(end) = self.buffer.iter().position(|b| *b == b'\n') else {
                let bounded = self.buffer.len() <= MAX_LINE;
                return if bounded { Ok(None) } else { Err(ErrorKind::InvalidData.into()) };
            };
            let line = self.buffer.split_to(end + 1);
            if let Some(sent) = Entry::parse(&line[..end]).and_then(|entry| self.pass(&entry)) {
                return Ok(Some(sent));
            }
        }
    }

    fn pass(&mut self, entry: &Entry<'_>) -> Option<Bytes> {
        if self.wanted.skip > 0 {
            self.wanted.skip -= u64::from(entry.whole);
            return None;
        }
        if self.wanted.since_ms.is_some_and(|since| entry.at.as_millisecond() < since) {
            return None;
        }
        let mut sent = BytesMut::new();
        if self.wanted.timestamps && !self.inside {
            sent.put_slice(entry.at.strftime("%Y-%m-%dT%H:%M:%S.%9fZ ").to_string().as_bytes());
        }
        sent.put_slice(entry.content);
        if entry.whole {
            sent.put_u8(b'\n');
        }
        self.inside = !entry.whole;
        sent.truncate(usize::try_from(self.wanted.left).unwrap_or(usize::MAX).min(sent.len()));
        self.wanted.left -= sent.len() as u64;
        (!sent.is_empty()).then(|| sent.freeze())
    }
}

/// Counts the lines of a log: whole ones, and one at the end that has none of its own. Pure.
#[derive(Debug, Default)]
struct Count {
    lines: u64,
    rest: BytesMut,
    inside: bool,
}

impl Count {
    fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
            let line = self.rest.split_to(end + 1);
            if let Some(entry) = Entry::parse(&line[..end]) {
                self.lines += u64::from(entry.whole);
                self.inside = !entry.whole;
            }
        }
    }

    fn total(&self) -> u64 {
        self.lines + u64::from(self.inside)
    }
}

/// The part of a log that a request asks for, read as far as it is written.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    lines: Lines,
}

impl LogFile {
    /// Opens a log.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) async fn open(path: &str, request: &LogsRequest) -> io::Result<Self> {
        let path = Path::new(path).to_owned();
        let skip = match request.tail_lines {
            Some(tail) => count(File::open(&path).await?).await?.saturating_sub(tail),
            None => 0,
        };
        let wanted = Wanted {
            since_ms: request.since_ms,
            timestamps: request.timestamps,
            skip,
            left: request.limit_bytes.unwrap_or(u64::MAX),
        };
        Ok(Self { file: File::open(&path).await?, path, lines: Lines::new(wanted) })
    }

    /// Whether as much was sent as the request allows.
    pub(super) fn is_full(&self) -> bool {
        self.lines.wanted.left == 0
    }

    /// The next piece to send; `None` at the present end of the log.
    ///
    /// # Errors
    /// When it cannot be read, or is no log.
    pub(super) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut buffer = vec![0; CHUNK];
        loop {
            if let Some(piece) = self.lines.next()? {
                return Ok(Some(piece));
            }
            match self.file.read(&mut buffer).await? {
                0 if self.reopen().await? => {}
                0 => return Ok(None),
                n => self.lines.push(&buffer[..n]),
            }
        }
    }

    /// Goes on in the file that has taken the place of a full one; whether there is one.
    async fn reopen(&mut self) -> io::Result<bool> {
        let Ok(file) = File::open(&self.path).await else { return Ok(false) };
        let identity = |m: std::fs::Metadata| (m.dev(), m.ino());
        if identity(file.metadata().await?) == identity(self.file.metadata().await?) {
            return Ok(false);
        }
        self.file = file;
        Ok(true)
    }
}

async fn count(mut file: File) -> io::Result<u64> {
    let (mut count, mut buffer) = (Count::default(), vec![0; CHUNK]);
    loop {
        match file.read(&mut buffer).await? {
            0 => return Ok(count.total()),
            n => count.push(&buffer[..n]),
        }
        if count.rest.len() > MAX_LINE {
            return Err(ErrorKind::InvalidData.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:01.000000001+00:00 stdout F one\n\
        2026-01-01T02:00:02.5+02:00 stderr P tw\n\
        2026-01-01T00:00:02.600000000+00:00 stderr F o\n\
        nonsense\n\
        2026-01-01T00:00:03+00:00 stdout F \n\
        2026-01-01T00:00:04.000000004+00:00 stdout P four";

    fn request(tail_lines: Option<u64>, since_ms: Option<i64>, timestamps: bool, limit: Option<u64>) -> LogsRequest {
        LogsRequest {
            pod: skiff_shared::ids::PodUid::parse("u").unwrap(),
            container: String::new(),
            follow: false,
            previous: false,
            since_ms,
            tail_lines,
            timestamps,
            limit_bytes: limit,
        }
    }

    async fn read(log: &mut LogFile) -> String {
        let mut text = String::new();
        while let Some(piece) = log.next().await.unwrap() {
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
        text
    }

    #[tokio::test]
    async fn a_log_is_read_as_it_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ctr.log");
        std::fs::write(&path, format!("{LOG}\n")).unwrap();
        let path = path.to_str().unwrap();
        let stamped = "2026-01-01T00:00:01.000000001Z one\n2026-01-01T00:00:02.500000000Z two\n\
            2026-01-01T00:00:03.000000000Z \n2026-01-01T00:00:04.000000004Z four";
        let second = 1_767_225_600_000;
        for (request, expected) in [
            (request(None, None, false, None), "one\ntwo\n\nfour"),
            (request(Some(0), None, false, None), ""),
            (request(Some(1), None, false, None), "four"),
            (request(Some(3), None, false, None), "two\n\nfour"),
            (request(Some(9), None, false, None), "one\ntwo\n\nfour"),
            (request(None, None, true, None), stamped),
            (request(None, Some(second + 2_501), false, None), "o\n\nfour"),
            (request(None, Some(second + 4_000), false, None), "four"),
            (request(None, Some(second + 4_001), false, None), ""),
            (request(None, None, false, Some(5)), "one\nt"),
            (request(Some(2), None, true, Some(4)), "2026"),
        ] {
            assert_eq!(read(&mut LogFile::open(path, &request).await.unwrap()).await, expected, "{request:?}");
        }
    }

    #[tokio::test]
    async fn a_log_goes_on_and_may_begin_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ctr.log");
        std::fs::write(&path, LOG).unwrap();
        let mut log = LogFile::open(path.to_str().unwrap(), &request(Some(1), None, false, None)).await.unwrap();
        // Its last line is not all written yet, so the third one counts as the last.
        assert_eq!(read(&mut log).await, "\n");
        std::fs::write(&path, format!("{LOG}\n")).unwrap();
        assert_eq!(read(&mut log).await, "four");
        let next = dir.path().join("next");
        std::fs::write(&next, "2026-01-01T00:00:05+00:00 stdout F five\n").unwrap();
        std::fs::rename(&next, &path).unwrap();
        assert_eq!(read(&mut log).await, "five\n");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read(&mut log).await, "");
    }

    #[tokio::test]
    async fn what_is_no_log_is_an_error_and_costs_no_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, vec![b'x'; 3 * MAX_LINE]).unwrap();
        let path = path.to_str().unwrap();
        assert!(LogFile::open(path, &request(None, None, false, None)).await.unwrap().next().await.is_err());
        assert!(LogFile::open(path, &request(Some(1), None, false, None)).await.is_err());
    }
}
