//! The thread that writes a recording, so that a slow disk does not hold the network up.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Writes to one file. What is given goes to the operating system at once, so that the death of the process takes no
/// more than the last moment. Dropping it writes what is queued.
#[derive(Debug)]
pub struct RecordingFile {
    parts: Option<SyncSender<Vec<u8>>>,
    over: Arc<(Mutex<bool>, Condvar)>,
}

impl RecordingFile {
    /// Makes the file, in place of one that is there. Only its owner may read it.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        let (parts, queue) = sync_channel(MAX_QUEUED);
        let over = Arc::new((Mutex::new(false), Condvar::new()));
        let told = Arc::clone(&over);
        std::thread::Builder::new().name("gosh-record".into()).stack_size(STACK).spawn(move || {
            run(file, &queue);
            *told.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            told.1.notify_all();
        })?;
        Ok(Self { parts: Some(parts), over })
    }

    /// Queues bytes. Where too much is queued already, nothing is written any more: a recording with a hole is none.
    pub fn write(&mut self, part: Vec<u8>) {
        let Some(parts) = &self.parts else { return };
        if part.is_empty() {
            return;
        }
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = parts.try_send(part) {
            tracing::warn!("the recording ends here: it cannot be written fast enough, or at all");
            self.parts = None;
        }
    }

    /// Writes what is queued, and waits for that up to `patience`.
    pub fn close(&mut self, patience: Duration) {
        self.parts = None;
        let over = self.over.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.over.1.wait_timeout_while(over, patience, |over| !*over));
    }
}

fn run(mut file: File, queue: &Receiver<Vec<u8>>) {
    for part in queue {
        if let Err(error) = file.write_all(&part) {
            tracing::warn!(%error, "the recording cannot be written");
            return;
        }
    }
}

/// So many turns' bytes may wait for the disk: a few mebibytes as a rule.
const MAX_QUEUED: usize = 4096;
/// Nothing deep runs there.
const STACK: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_in_the_file_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recording");
        std::fs::write(&path, "something that was there before").unwrap();
        let mut file = RecordingFile::create(&path).unwrap();
        for part in ["one ", "", "two ", "three"] {
            file.write(part.into());
        }
        file.close(Duration::from_secs(5));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one two three");
        file.write(b"after the end".to_vec());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one two three");
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recording");
        RecordingFile::create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
