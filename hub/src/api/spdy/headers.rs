//! Header blocks: name and value pairs, compressed by one zlib stream per direction with a dictionary that both sides
//! know.
//!
//! flate2's Rust backend takes no dictionary. A dictionary is nothing but text that the stream could have held before
//! its beginning, so it is fed to the inflater first, as a stored block. What goes out is stored too: the few replies
//! carry no headers, and every zlib reader takes them.

use std::borrow::Cow;

use flate2::{Decompress, FlushDecompress, Status};

use super::frame::{FrameError, Headers};

/// Longest header block, inflated. Those of Kubernetes' clients have a few hundred bytes.
const MAX_BLOCK: usize = 16 * 1024;

/// Most headers of one stream.
const MAX_HEADERS: usize = 64;

/// The zlib header of a stream that begins with SPDY's dictionary, and the dictionary's checksum.
const WITH_DICTIONARY: u8 = 0x20;
const DICTIONARY_ID: [u8; 4] = [0xe3, 0xc6, 0xa7, 0xc2];

/// Takes header blocks apart, in the order in which they come.
pub(super) struct Inflater {
    zlib: Decompress,
    started: bool,
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").field("started", &self.started).finish_non_exhaustive()
    }
}

impl Inflater {
    pub(super) fn new() -> Self {
        Self { zlib: Decompress::new(false), started: false }
    }

    /// Inflates and reads one block.
    pub(super) fn block(&mut self, mut compressed: &[u8]) -> Result<Headers, FrameError> {
        if !self.started {
            compressed = self.start(compressed)?;
            self.started = true;
        }
        parse(&self.inflate(compressed)?)
    }

    /// Takes the zlib header off and puts the dictionary in.
    fn start<'a>(&mut self, compressed: &'a [u8]) -> Result<&'a [u8], FrameError> {
        let ([_, flags], rest) = compressed.split_first_chunk().ok_or(FrameError::Compression)?;
        if flags & WITH_DICTIONARY == 0 {
            return Ok(rest);
        }
        let (id, rest) = rest.split_first_chunk::<4>().ok_or(FrameError::Compression)?;
        if *id != DICTIONARY_ID {
            return Err(FrameError::Compression);
        }
        self.inflate(&stored(&dictionary()))?;
        Ok(rest)
    }

    fn inflate(&mut self, mut compressed: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut block = Vec::with_capacity(1024);
        loop {
            let before = (self.zlib.total_in(), self.zlib.total_out());
            let status = self
                .zlib
                .decompress_vec(compressed, &mut block, FlushDecompress::Sync)
                .map_err(|_| FrameError::Compression)?;
            let taken = usize::try_from(self.zlib.total_in() - before.0).unwrap_or(usize::MAX);
            compressed = compressed.get(taken..).unwrap_or_default();
            let stuck = before == (self.zlib.total_in(), self.zlib.total_out());
            if status == Status::StreamEnd || block.len() > MAX_BLOCK {
                return Err(FrameError::Compression);
            }
            if block.len() < block.capacity() || (stuck && compressed.is_empty()) {
                return if compressed.is_empty() { Ok(block) } else { Err(FrameError::Compression) };
            }
            block.reserve(block.capacity());
        }
    }
}

/// Reads an inflated block: `u32` count, then `u32` length and bytes of each name and value.
fn parse(block: &[u8]) -> Result<Headers, FrameError> {
    let mut rest = block;
    let count = number(&mut rest)?;
    if count > MAX_HEADERS {
        return Err(FrameError::Headers);
    }
    let pair = |_| Ok((text(&mut rest)?, text(&mut rest)?));
    (0..count).map(pair).collect()
}

fn number(rest: &mut &[u8]) -> Result<usize, FrameError> {
    let (bytes, after) = rest.split_first_chunk::<4>().ok_or(FrameError::Headers)?;
    *rest = after;
    usize::try_from(u32::from_be_bytes(*bytes)).map_err(|_| FrameError::Headers)
}

fn text(rest: &mut &[u8]) -> Result<String, FrameError> {
    let length = number(rest)?;
    let (bytes, after) = rest.split_at_checked(length).ok_or(FrameError::Headers)?;
    *rest = after;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// A block without headers, as the next piece of an outgoing zlib stream; `first` where it is the first.
pub(super) fn empty_block(first: bool) -> Vec<u8> {
    // zlib's header for a 32 KiB window, without a dictionary.
    let mut out = if first { vec![0x78, 0x01] } else { Vec::new() };
    out.extend(stored(&0_u32.to_be_bytes()));
    // An empty block makes readers hand on what they have: zlib's sync flush.
    out.extend(stored(&[]));
    out
}

/// A deflate block that holds bytes as they are.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let mut out = vec![0];
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(bytes);
    out
}

/// SPDY/3's dictionary: each word behind its length, then a tail.
pub(super) fn dictionary() -> Vec<u8> {
    let words = WORDS.split('\n').map(Cow::from);
    let mut out = Vec::new();
    for word in words {
        out.extend(u32::try_from(word.len()).unwrap_or_default().to_be_bytes());
        out.extend(word.as_bytes());
    }
    out.extend(TAIL.as_bytes());
    out
}

const WORDS: &str = "\
    options\nhead\npost\nput\ndelete\ntrace\naccept\naccept-charset\naccept-encoding\n\
    accept-language\naccept-ranges\nage\nallow\nauthorization\ncache-control\nconnection\n\
    content-base\ncontent-encoding\ncontent-language\ncontent-length\ncontent-location\ncontent-md5\n\
    content-range\ncontent-type\ndate\netag\nexpect\nexpires\nfrom\nhost\nif-match\n\
    if-modified-since\nif-none-match\nif-range\nif-unmodified-since\nlast-modified\nlocation\n\
    max-forwards\npragma\nproxy-authenticate\nproxy-authorization\nrange\nreferer\nretry-after\n\
    server\nte\ntrailer\ntransfer-encoding\nupgrade\nuser-agent\nvary\nvia\nwarning\n\
    www-authenticate\nmethod\nget\nstatus\n200 OK\nversion\nHTTP/1.1\nurl\npublic\nset-cookie\n\
    keep-alive\norigin";

const TAIL: &str = "\
    100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Au\
    thoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidd\
    en404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr Ma\
    y Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,imag\
    e/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicpri\
    vatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
