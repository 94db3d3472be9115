//! The events that the hub has not stored yet: a bounded queue with an append-only file behind it.
//!
//! An appended event survives the end of the process at once and a power cut after the next [`EventQueue::sync`].
//! A torn record at the end of the file is what a crash leaves; anything else that is wrong is corruption.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use skiff_shared::report::EventReport;

use super::{LedgerError, Result, file};

/// Most events that are kept while the hub is away: days of an ordinary node.
pub const MAX_EVENTS: usize = 1000;
/// The file is rewritten when it is this long and mostly stored events.
const REWRITE_BYTES: u64 = 512 * 1024;
/// From so many waiting events on, a repeated one is counted instead of queued again.
const MERGE_FROM: usize = 64;

/// One record of the file. Variants are only ever appended.
#[derive(Debug, Serialize, Deserialize)]
enum Record {
    /// An event.
    Event(EventReport),
    /// Events up to this number are stored on the hub; later ones have higher numbers.
    Stored(u64),
    /// The event of this number was dropped or merged into a later one.
    Dropped(u64),
}

/// The queue and its file.
#[derive(Debug)]
pub struct EventQueue {
    path: PathBuf,
    file: File,
    length: u64,
    dirty: bool,
    last_seq: u64,
    events: VecDeque<EventReport>,
}

impl EventQueue {
    /// Reads the queue, or starts an empty one.
    ///
    /// # Errors
    /// [`LedgerError`] when the file cannot be read or is corrupt before its end.
    pub fn open(path: PathBuf) -> Result<Self> {
        let failed = |source| LedgerError::Io { operation: "open", path: path.clone(), source };
        let mut options = File::options();
        let file = options.create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
        let bytes = std::fs::read(&path).map_err(failed)?;
        let mut queue = Self { path, file, length: 0, dirty: false, last_seq: 0, events: VecDeque::new() };
        queue.replay(&bytes)?;
        queue.rewrite()?;
        Ok(queue)
    }

    /// Queues an event under the next number. Beyond [`MAX_EVENTS`] the oldest normal one is dropped, or the oldest.
    ///
    /// # Errors
    /// [`LedgerError::Io`]; the event is then queued in memory only.
    pub fn push(&mut self, mut event: EventReport) -> Result<()> {
        let mut dropped = None;
        let same =
            |e: &EventReport| e.subject == event.subject && e.reason == event.reason && e.message == event.message;
        if self.events.len() >= MERGE_FROM
            && let Some(at) = self.events.iter().position(same)
            && let Some(old) = self.events.remove(at)
        {
            event.count = event.count.saturating_add(old.count);
            dropped = Some(old.seq);
        } else if self.events.len() >= MAX_EVENTS {
            let victim = self.events.iter().position(|e| !e.warning).unwrap_or(0);
            dropped = self.events.remove(victim).map(|e| e.seq);
        }
        self.last_seq += 1;
        event.seq = self.last_seq;
        self.events.push_back(event.clone());
        if let Some(seq) = dropped {
            self.append(&Record::Dropped(seq))?;
        }
        self.append(&Record::Event(event))
    }

    /// Number of the newest event ever queued.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Events after `seq`, oldest first, at most `max`.
    pub fn after(&self, seq: u64, max: usize) -> Vec<EventReport> {
        self.events.iter().filter(|e| e.seq > seq).take(max).cloned().collect()
    }

    /// The hub has everything up to `seq`.
    ///
    /// # Errors
    /// [`LedgerError::Io`]; the events may then be sent again after a restart.
    pub fn stored(&mut self, seq: u64) -> Result<()> {
        let before = self.events.len();
        self.events.retain(|e| e.seq > seq);
        if self.events.len() == before {
            return Ok(());
        }
        self.append(&Record::Stored(seq.min(self.last_seq)))?;
        if self.length > REWRITE_BYTES { self.rewrite() } else { Ok(()) }
    }

    /// Makes everything appended so far survive a power cut.
    ///
    /// # Errors
    /// [`LedgerError::Io`].
    pub fn sync(&mut self) -> Result<()> {
        if self.dirty {
            self.file.sync_data().map_err(|e| self.failed("sync", e))?;
            self.dirty = false;
        }
        Ok(())
    }

    fn replay(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while let Some((header, tail)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_le_bytes(*header)).unwrap_or(usize::MAX);
            let Some((sum, tail)) = tail.split_first_chunk::<16>() else { break };
            let Some((payload, tail)) = tail.split_at_checked(length) else { break };
            let record = postcard::from_bytes::<Record>(payload).ok().filter(|_| *sum == file::checksum(payload));
            match record {
                Some(record) => self.redo(record),
                None if tail.is_empty() => break,
                None => {
                    let reason = format!("bad record at byte {}", bytes.len() - rest.len());
                    return Err(LedgerError::Corrupt { path: self.path.clone(), reason });
                }
            }
            rest = tail;
        }
        Ok(())
    }

    fn redo(&mut self, record: Record) {
        match record {
            Record::Event(event) => {
                self.last_seq = self.last_seq.max(event.seq);
                self.events.push_back(event);
            }
            Record::Stored(seq) => {
                self.last_seq = self.last_seq.max(seq);
                self.events.retain(|e| e.seq > seq);
            }
            Record::Dropped(seq) => self.events.retain(|e| e.seq != seq),
        }
    }

    fn rewrite(&mut self) -> Result<()> {
        let before = self.events.front().map_or(self.last_seq, |e| e.seq.saturating_sub(1));
        let mut bytes = frame(&Record::Stored(before));
        for event in &self.events {
            bytes.extend(frame(&Record::Event(event.clone())));
        }
        let temporary = self.path.with_extension("tmp");
        let attempt = || {
            let mut file = File::options().create(true).truncate(true).read(true).write(true).open(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_data()?;
            std::fs::rename(&temporary, &self.path)?;
            Ok(file)
        };
        self.file = attempt().map_err(|e| self.failed("rewrite", e))?;
        self.length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.dirty = false;
        Ok(())
    }

    fn append(&mut self, record: &Record) -> Result<()> {
        let bytes = frame(record);
        // A failed append may leave half a record: the next one overwrites it.
        let at = SeekFrom::Start(self.length);
        let written = self.file.seek(at).and_then(|_| self.file.write_all(&bytes));
        written.map_err(|e| self.failed("append to", e))?;
        self.length += u64::try_from(bytes.len()).unwrap_or(0);
        self.dirty = true;
        Ok(())
    }

    fn failed(&self, operation: &'static str, source: std::io::Error) -> LedgerError {
        LedgerError::Io { operation, path: self.path.clone(), source }
    }
}

fn frame(record: &Record) -> Vec<u8> {
    let payload = postcard::to_allocvec(record).expect("records hold nothing that postcard cannot encode");
    let length = u32::try_from(payload.len()).expect("a record is far below 4 GiB");
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(file::checksum(&payload));
    bytes.extend(payload);
    bytes
}
