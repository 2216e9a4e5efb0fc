//! The log text of the job so far, in a file only the helper can see: what has been printed can be printed again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Text that is only appended to. One writer, one reader.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    /// What came after the file could not be written any more (its disk is full). The log's limit bounds it.
    rest: Mutex<Option<Rest>>,
}

#[derive(Debug)]
struct Rest {
    from: u64,
    text: Vec<u8>,
}

impl Spool {
    /// An empty spool at `path`.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Self { file, rest: Mutex::new(None) })
    }

    /// Adds `text` behind the `len` bytes there are.
    pub(crate) fn append(&self, len: u64, text: &[u8]) {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if rest.is_none() && self.file.write_all_at(text, len).is_ok() {
            return;
        }
        rest.get_or_insert_with(|| Rest { from: len, text: Vec::new() }).text.extend_from_slice(text);
    }

    /// Reads text from `offset` on into `buffer`; returns how much, at least one byte if there is any.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*rest {
            Some(rest) if offset >= rest.from => {
                let skip = usize::try_from(offset - rest.from).unwrap_or(usize::MAX).min(rest.text.len());
                let n = buffer.len().min(rest.text.len() - skip);
                buffer[..n].copy_from_slice(&rest.text[skip..skip + n]);
                Ok(n)
            }
            Some(rest) => {
                let most = usize::try_from(rest.from - offset).unwrap_or(usize::MAX).min(buffer.len());
                self.file.read_at(&mut buffer[..most], offset)
            }
            None => self.file.read_at(buffer, offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_back_also_after_the_disk_was_full() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(&folder.path().join("log")).unwrap();
        spool.append(0, b"abc");
        let read_only = File::open(folder.path().join("log")).unwrap();
        spool.file = read_only; // no more can be written
        spool.append(3, b"def");
        spool.append(6, b"g");
        let mut all = Vec::new();
        while all.len() < 7 {
            let mut buffer = [0; 2];
            let n = spool.read(all.len() as u64, &mut buffer).unwrap();
            assert!(n > 0);
            all.extend_from_slice(&buffer[..n]);
        }
        assert_eq!(all, b"abcdefg");
        assert_eq!(spool.read(7, &mut [0; 2]).unwrap(), 0);
    }
}
