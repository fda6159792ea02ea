//! Policy: one file as a disk sees it: what is durable, what is only in the page cache, and what a power cut leaves.

use core::ops::Range;
use gosh_dl_core::base::{RangeSet, Rng};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes by offset; what was never written reads as zero and takes no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    len: u64,
    pages: BTreeMap<u64, Page>,
    /// What many files are expected to hold: pages that are the same take no memory.
    shared: Option<Arc<[u8]>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Page {
    Own(Box<[u8]>),
    /// That of the shared content at the same place.
    Shared,
}

impl Image {
    /// An empty image that is likely to become like `shared`.
    pub fn sharing(shared: Option<Arc<[u8]>>) -> Self {
        Self { shared, ..Self::default() }
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Writes `data` at `offset`, and grows where needed.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let (page, skip) = (at / PAGE, (at % PAGE) as usize);
            let take = (PAGE as usize - skip).min(data.len() - done);
            let data = &data[done..done + take];
            if take == PAGE as usize && self.shared_page(page) == Some(data) {
                self.pages.insert(page, Page::Shared);
            } else {
                self.own_page(page)[skip..skip + take].copy_from_slice(data);
            }
            done += take;
        }
        self.len = self.len.max(offset + data.len() as u64);
    }

    /// Cuts or extends to `len` bytes.
    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.pages.split_off(&len.div_ceil(PAGE));
            if self.pages.contains_key(&(len / PAGE)) {
                self.own_page(len / PAGE)[(len % PAGE) as usize..].fill(0);
            }
        }
        self.len = len;
    }

    /// The bytes in `range`, which is cut at the end of the file.
    pub fn read(&self, range: Range<u64>) -> Vec<u8> {
        let end = range.end.min(self.len);
        let start = range.start.min(end);
        let mut bytes = vec![0; (end - start) as usize];
        let mut at = start;
        while at < end {
            let skip = (at % PAGE) as usize;
            let take = (PAGE as usize - skip).min((end - at) as usize);
            let page = self.pages.get(&(at / PAGE)).and_then(|page| match page {
                Page::Own(page) => Some(&page[..]),
                Page::Shared => self.shared_page(at / PAGE),
            });
            if let Some(page) = page {
                let to = (at - start) as usize;
                bytes[to..to + take].copy_from_slice(&page[skip..skip + take]);
            }
            at += take as u64;
        }
        bytes
    }

    fn shared_page(&self, page: u64) -> Option<&[u8]> {
        let start = usize::try_from(page * PAGE).ok()?;
        self.shared.as_ref()?.get(start..start + PAGE as usize)
    }

    /// A page to write into.
    fn own_page(&mut self, number: u64) -> &mut [u8] {
        let page = match self.pages.remove(&number) {
            Some(Page::Own(page)) => page,
            Some(Page::Shared) => self.shared_page(number).map(<Box<[u8]>>::from).unwrap_or_default(),
            None => vec![0; PAGE as usize].into(),
        };
        match self.pages.entry(number).or_insert(Page::Own(page)) {
            Page::Own(page) => page,
            Page::Shared => unreachable!("it is its own"),
        }
    }
}

/// A change that the page cache has and the disk may not have.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, data: Vec<u8> },
    SetLen(u64),
}

/// How a machine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// The process dies; the system and its page cache live on, so nothing that was written is lost.
    Kill,
    /// The power fails and nothing is left that was not synced.
    PowerCut,
    /// The power fails and any part of what was not synced is left, in sectors of 512 bytes and in any order.
    Torn,
}

/// One file: its durable image, and the changes since.
#[derive(Debug, Default)]
pub struct File {
    current: Image,
    durable: Image,
    /// Changes by number; a sync makes those below its barrier durable.
    pending: BTreeMap<u64, Change>,
    next_change: u64,
    allocated: RangeSet,
}

impl File {
    /// An empty file that is likely to become like `shared`.
    pub fn sharing(shared: Option<Arc<[u8]>>) -> Self {
        let image = Image::sharing(shared);
        Self { current: image.clone(), durable: image, ..Self::default() }
    }

    /// A file whose content is durable.
    pub fn durable(content: &[u8], shared: Option<Arc<[u8]>>) -> Self {
        let mut file = Self::sharing(shared);
        file.current.write(0, content);
        file.durable = file.current.clone();
        file.allocated.insert(0..content.len() as u64);
        file
    }

    /// What a reader sees now.
    pub fn current(&self) -> &Image {
        &self.current
    }

    /// What a power cut would leave for certain.
    pub fn durable_image(&self) -> &Image {
        &self.durable
    }

    /// Whether everything in it is durable.
    pub fn is_synced(&self) -> bool {
        self.pending.is_empty() && self.current == self.durable
    }

    /// Bytes of the disk that it takes.
    pub fn allocated(&self) -> u64 {
        self.allocated.len()
    }

    /// Bytes of the disk that it would take in addition with `range` written.
    pub fn growth(&self, range: Range<u64>) -> u64 {
        let mut grown = self.allocated.clone();
        grown.insert(range);
        grown.len() - self.allocated.len()
    }

    /// Takes the blocks of `range`.
    pub fn allocate(&mut self, range: Range<u64>) {
        self.allocated.insert(range);
    }

    /// Writes into the page cache.
    pub fn write(&mut self, offset: u64, data: Vec<u8>) {
        self.current.write(offset, &data);
        self.allocated.insert(offset..offset + data.len() as u64);
        self.change(Change::Write { offset, data });
    }

    /// Cuts or extends in the page cache.
    pub fn set_len(&mut self, len: u64) {
        self.current.set_len(len);
        self.allocated.remove(len..u64::MAX);
        self.change(Change::SetLen(len));
    }

    /// Everything up to now: what a sync that is asked for now promises.
    pub fn barrier(&self) -> u64 {
        self.next_change
    }

    /// Makes the changes before `barrier` durable.
    pub fn sync(&mut self, barrier: u64) {
        let later = self.pending.split_off(&barrier);
        for change in core::mem::replace(&mut self.pending, later).into_values() {
            apply(&mut self.durable, &change);
        }
    }

    /// A sync failed: the system drops the changes before `barrier` and forgets that they were ever dirty, so that
    /// a later sync succeeds without them.
    pub fn fail_sync(&mut self, barrier: u64) {
        self.pending = self.pending.split_off(&barrier);
    }

    /// What a crash leaves becomes the file.
    pub fn crash(&mut self, mode: CrashMode, rng: &mut Rng) {
        match mode {
            CrashMode::Kill => return,
            CrashMode::PowerCut => {}
            CrashMode::Torn => self.tear(rng),
        }
        self.pending.clear();
        self.current = self.durable.clone();
        self.allocated.remove(self.current.len()..u64::MAX);
    }

    fn change(&mut self, change: Change) {
        self.pending.insert(self.next_change, change);
        self.next_change += 1;
    }

    fn tear(&mut self, rng: &mut Rng) {
        for change in core::mem::take(&mut self.pending).into_values() {
            match &change {
                Change::SetLen(_) if rng.below(2) == 0 => apply(&mut self.durable, &change),
                Change::SetLen(_) => {}
                Change::Write { offset, data } => tear_write(&mut self.durable, *offset, data, rng),
            }
        }
    }
}

fn apply(image: &mut Image, change: &Change) {
    match change {
        Change::Write { offset, data } => image.write(*offset, data),
        Change::SetLen(len) => image.set_len(*len),
    }
}

/// A third of writes is lost whole, a third survives whole, and a third survives by sectors. A lost sector may still
/// have moved the end of the file: metadata and data reach the disk apart.
fn tear_write(image: &mut Image, offset: u64, data: &[u8], rng: &mut Rng) {
    let fate = rng.below(3);
    if fate == 0 {
        return;
    }
    let mut at = 0;
    while at < data.len() {
        let sector_end = (offset + at as u64) / SECTOR * SECTOR + SECTOR;
        let end = ((sector_end - offset) as usize).min(data.len());
        if fate == 1 || rng.below(2) == 0 {
            image.write(offset + at as u64, &data[at..end]);
        } else {
            image.set_len(image.len().max(offset + end as u64));
        }
        at = end;
    }
}

/// What a disk writes at once.
const SECTOR: u64 = 512;

/// How an image is cut up in memory.
const PAGE: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_read_as_zero_and_cut_ends_do_not_come_back() {
        let mut image = Image::default();
        image.write(40_000, b"abc");
        assert_eq!(image.read(39_998..50_000), b"\0\0abc");
        image.set_len(40_001);
        image.set_len(40_004);
        assert_eq!(image.read(40_000..50_000), b"a\0\0\0");
    }

    #[test]
    fn power_cut_keeps_what_was_synced_and_nothing_else() {
        let (mut file, mut rng) = (File::default(), Rng::from_seed([0; 32]));
        file.write(0, b"first".to_vec());
        let barrier = file.barrier();
        file.write(5, b"second".to_vec());
        file.sync(barrier);
        file.crash(CrashMode::PowerCut, &mut rng);
        assert_eq!(file.current().read(0..100), b"first");
        assert!(file.is_synced());
    }

    #[test]
    fn kill_keeps_everything() {
        let (mut file, mut rng) = (File::default(), Rng::from_seed([0; 32]));
        file.write(0, b"first".to_vec());
        file.crash(CrashMode::Kill, &mut rng);
        assert_eq!(file.current().read(0..100), b"first");
        assert!(!file.is_synced());
    }

    #[test]
    fn failed_sync_loses_its_pages_although_the_next_succeeds() {
        let (mut file, mut rng) = (File::default(), Rng::from_seed([0; 32]));
        file.write(0, b"lost".to_vec());
        file.fail_sync(file.barrier());
        file.sync(file.barrier());
        assert_eq!(file.current().read(0..100), b"lost");
        assert!(!file.is_synced());
        file.crash(CrashMode::PowerCut, &mut rng);
        assert_eq!(file.current().read(0..100), b"");
    }

    #[test]
    fn torn_crash_leaves_sectors_old_or_new_and_never_anything_else() {
        let mut kinds = [0; 3];
        for seed in 0..40 {
            let mut rng = Rng::from_seed([seed; 32]);
            let mut file = File::durable(&[1; 4096], None);
            file.write(100, vec![2; 3000]);
            file.crash(CrashMode::Torn, &mut rng);
            let bytes = file.current().read(0..4096);
            assert!(bytes[..100].iter().chain(&bytes[3100..]).all(|byte| *byte == 1));
            assert!(bytes[512..1024].iter().all(|byte| *byte == bytes[512]));
            let new = bytes.iter().filter(|byte| **byte == 2).count();
            kinds[if new == 0 {
                0
            } else if new == 3000 {
                1
            } else {
                2
            }] += 1;
        }
        assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
    }
}
