//! A small world around the files of a torrent: their disk, the store, and what happens to them.

use super::{Entry, ModelDisk, Resolved};
use crate::base::disk::{DirKey, DiskError, DiskErrorKind, DiskOp};
use crate::base::{Block, BlockData, FileName, Instant, PieceIndex, RangeSet, Rng};
use crate::download::torrent::files::handles::MAX_OPEN_FILES;
use crate::download::torrent::files::{CheckScope, DiskTag, FilesPlan, FilesSaved, Output, TorrentFiles};
use crate::download::torrent::layout::Layout;
use crate::wire::torrent::Metainfo;
use bytes::Bytes;
use core::ops::Range;
use sha1::{Digest as _, Sha1};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A torrent, and what its files hold.
#[derive(Clone, Debug)]
pub(crate) struct ModelTorrent {
    /// The torrent.
    pub(crate) metainfo: Arc<Metainfo>,
    /// Where its files lie.
    pub(crate) layout: Arc<Layout>,
    /// The whole, padding included.
    pub(crate) content: Vec<u8>,
}

impl ModelTorrent {
    /// A torrent `t` of these files: names with `/` between folders, lengths, and whether they are padding.
    pub(crate) fn new(piece_len: u32, files: &[(&str, usize, bool)]) -> Self {
        let mut rng = Rng::from_seed([9; 32]);
        let mut content = Vec::new();
        let mut list = String::new();
        for (path, len, pad) in files {
            let bytes = (0..*len).map(|_| if *pad { 0 } else { rng.next_u64() as u8 });
            content.extend(bytes);
            let attr = if *pad { "4:attr1:p" } else { "" };
            let path: String = path.split('/').map(|name| format!("{}:{name}", name.len())).collect();
            list += &format!("d{attr}6:lengthi{len}e4:pathl{path}ee");
        }
        let hashes: Vec<u8> =
            content.chunks(piece_len as usize).flat_map(|piece| Sha1::digest(piece).to_vec()).collect();
        let head =
            format!("d4:infod5:filesl{list}e4:name1:t12:piece lengthi{piece_len}e6:pieces{}:", hashes.len());
        let raw = [head.as_bytes(), &hashes, b"ee"].concat();
        let metainfo = Metainfo::decode(raw.into()).unwrap_or_else(|error| panic!("{error}"));
        let layout = Arc::new(Layout::new(&metainfo));
        Self { metainfo: Arc::new(metainfo), layout, content }
    }

    /// What a file holds.
    pub(crate) fn file(&self, file: u32) -> &[u8] {
        let range = self.layout.range(file);
        &self.content[range.start as usize..range.end as usize]
    }

    /// Where a file stands in the end.
    pub(crate) fn path(&self, file: u32) -> String {
        let path = self.metainfo.files().get(file as usize).map(|file| file.path()).unwrap_or_default();
        let names: Vec<&str> = path.iter().map(FileName::as_str).collect();
        format!("t/{}", names.join("/"))
    }

    /// A plan that wants everything.
    pub(crate) fn plan(&self) -> FilesPlan {
        FilesPlan {
            dir_path: "/d".into(),
            allocation: Default::default(),
            metainfo: Arc::clone(&self.metainfo),
            layout: Arc::clone(&self.layout),
            unwanted: BTreeSet::new(),
            overwrite: false,
            look_only: false,
        }
    }

    /// The bytes of a block.
    pub(crate) fn data(&self, block: Block) -> BlockData {
        let range = self.layout.grid().block_range(block);
        Bytes::copy_from_slice(&self.content[range.start as usize..range.end as usize]).into()
    }

    /// Whether a piece on the disk is what it must be, now or after a power cut.
    pub(crate) fn is_right(&self, disk: &ModelDisk, piece: u32, power: bool) -> bool {
        let Some(piece) = self.layout.grid().piece(piece) else { return false };
        self.holds(disk, &self.content, (piece, self.layout.grid().piece_range(piece)), power)
    }

    /// Whether some bytes of a piece are on the disk as `whole` has them, now or after a power cut.
    fn holds(
        &self,
        disk: &ModelDisk,
        whole: &[u8],
        (piece, range): (PieceIndex, Range<u64>),
        power: bool,
    ) -> bool {
        let names = if power { &disk.durable_names } else { &disk.names };
        let kept = format!(".{}.parts", self.metainfo.info_hash());
        let grid = self.layout.grid();
        let start = grid.piece_range(piece).start;
        self.layout.spans(range).filter(|span| !span.pad).all(|span| {
            let at = self.layout.range(span.file).start + span.offset;
            let right = &whole[at as usize..(at + span.len) as usize];
            let path = self.path(span.file);
            let bytes = |path: &str| match names.get(path) {
                Some(Entry::File(inode)) => {
                    disk.inodes.get(inode).map(|inode| if power { &inode.durable } else { &inode.now })
                }
                _ => None,
            };
            let found = [path.clone(), format!("{path}.part")].into_iter().filter_map(|path| bytes(&path));
            let offset = span.offset as usize;
            let mut at_home = found.map(|bytes| bytes.get(offset..offset + right.len()));
            let in_piece = at - start;
            let rooms = (0..64u64).map(|room| room * u64::from(grid.piece_len()) + in_piece);
            let mut apart = rooms.filter_map(|at| bytes(&kept)?.get(at as usize..at as usize + right.len()));
            at_home.any(|bytes| bytes == Some(right)) || apart.any(|bytes| bytes == right)
        })
    }
}

/// The files of a torrent on a disk, and a store that has what was last put into it.
#[derive(Debug)]
pub(crate) struct World {
    /// The machine.
    pub(crate) files: TorrentFiles,
    /// The disk.
    pub(crate) disk: ModelDisk,
    /// The torrent.
    pub(crate) torrent: ModelTorrent,
    /// What the store has.
    pub(crate) stored: Option<Vec<u8>>,
    /// What a killed process left in its note.
    pub(crate) note: RangeSet,
    /// What came out, but for disk operations.
    pub(crate) events: Vec<Output>,
    /// The operations that were asked for, in short.
    pub(crate) log: Vec<String>,
    /// The operation of this number from now on fails.
    pub(crate) fail: Option<(usize, DiskErrorKind)>,
    /// The time.
    pub(crate) now: Instant,
    /// Whether what is to be recorded is, at once.
    pub(crate) records: bool,
    queue: Vec<(DiskTag, DiskOp, Resolved)>,
    rng: Option<Rng>,
}

impl World {
    /// A world that has not begun.
    pub(crate) fn new(torrent: ModelTorrent, plan: FilesPlan) -> Self {
        Self {
            files: TorrentFiles::new(plan, None, 1 << 20),
            disk: ModelDisk::default(),
            torrent,
            stored: None,
            note: RangeSet::new(),
            events: Vec::new(),
            log: Vec::new(),
            fail: None,
            now: Instant::ZERO,
            records: true,
            queue: Vec::new(),
            rng: None,
        }
    }

    /// Operations end in any order from now on.
    pub(crate) fn shuffle(&mut self, seed: u8) {
        self.rng = Some(Rng::from_seed([seed; 32]));
    }

    /// The directory is open.
    pub(crate) fn start(&mut self) {
        self.disk.open_root(DirKey(0));
        self.files.dir_ready(self.now, Ok(DirKey(0)));
        self.drain();
    }

    /// Begins, is given all blocks and does all that follows.
    #[cfg(test)]
    pub(crate) fn live(&mut self) {
        self.start();
        self.settle();
        self.give_all();
        self.run();
    }

    /// The process dies; another one begins with what the store has.
    pub(crate) fn restart(&mut self, plan: FilesPlan, power: bool) {
        self.queue.clear();
        self.disk.crash(power);
        let mut saved = self
            .stored
            .as_deref()
            .map(|bytes| FilesSaved::decode(bytes).unwrap_or_else(|| panic!("the record cannot be read")));
        if let Some(saved) = saved.as_mut().filter(|_| !power) {
            saved.suspect(&self.note);
        }
        self.note = RangeSet::new();
        self.events.clear();
        self.log.clear();
        self.files = TorrentFiles::new(plan, saved, 1 << 20);
    }

    /// Takes what came out; the store and the note are kept as an engine keeps them.
    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.files.poll_output() {
            match output {
                Output::Disk(tag, op) => {
                    self.log.push(short(&op));
                    let resolved = self.disk.resolve(&op);
                    if op.completes() {
                        self.queue.push((tag, op, resolved));
                    }
                }
                Output::Record if self.records => {
                    self.store();
                    self.files.recorded(self.now);
                    self.events.push(Output::Record);
                }
                Output::Durable => {
                    self.store();
                    self.events.push(Output::Durable);
                }
                other => self.events.push(other),
            }
        }
    }

    /// The store takes what there is to know.
    pub(crate) fn store(&mut self) {
        self.stored = Some(self.files.saved().encode());
        self.note = self.files.note();
    }

    /// One operation ends; `false` where none is under way.
    pub(crate) fn step(&mut self) -> bool {
        if self.queue.is_empty() {
            return false;
        }
        let index = self.rng.as_mut().map_or(0, |rng| rng.below(self.queue.len() as u64) as usize);
        let (tag, op, resolved) = self.queue.remove(index);
        let result = match &mut self.fail {
            Some((0, kind)) => {
                let error: DiskError = (*kind).into();
                self.fail = None;
                Err(error)
            }
            fail => {
                if let Some((left, _)) = fail {
                    *left -= 1;
                }
                self.disk.perform(op, resolved)
            }
        };
        self.files.handle_disk(self.now, tag, result);
        self.drain();
        true
    }

    /// Everything that is under way ends.
    pub(crate) fn settle(&mut self) {
        while self.step() {}
    }

    /// Time passes until the next deadline; `false` where there is none.
    pub(crate) fn wait(&mut self) -> bool {
        let Some(at) = self.files.poll_timeout() else { return false };
        self.now = self.now.max(at);
        self.files.handle_timeout(self.now);
        assert!(
            self.files.poll_timeout().is_none_or(|next| next > self.now),
            "a deadline that does not pass"
        );
        self.drain();
        true
    }

    /// A block comes.
    pub(crate) fn give(&mut self, block: Block) {
        let data = self.torrent.data(block);
        self.files.write(self.now, block, data);
        self.drain();
    }

    /// All blocks come that the wanted files need, in order.
    pub(crate) fn give_all(&mut self) {
        let layout = Arc::clone(&self.torrent.layout);
        for piece in layout.grid().all() {
            let is_needed = layout.piece_spans(piece).any(|span| self.files.is_wanted(span.file));
            if is_needed && !self.files.have().has(piece) {
                layout.grid().blocks(piece).for_each(|block| self.give(block));
            }
        }
    }

    /// Everything is done that can be done without another block.
    pub(crate) fn run(&mut self) {
        self.drain();
        loop {
            self.settle();
            if !self.wait() && self.queue.is_empty() {
                return;
            }
        }
    }

    /// Whether this came out.
    pub(crate) fn has(&self, event: &Output) -> bool {
        self.events.contains(event)
    }

    /// What is claimed must be so: every piece that the machine has is right on the disk, and every piece that the store
    /// has would be right after a power cut.
    pub(crate) fn check_claims(&mut self) {
        let grid = self.torrent.layout.grid();
        for piece in grid.all().filter(|piece| self.files.have().has(*piece)) {
            assert!(
                self.torrent.is_right(&self.disk, piece.get(), false),
                "{piece:?} is not what it is said to be"
            );
        }
        let stored = self.stored.as_deref().and_then(FilesSaved::decode);
        if let Some(saved) = stored {
            for piece in saved.pieces().ones() {
                assert!(
                    self.torrent.is_right(&self.disk, piece, true),
                    "{piece} would be lost by a power cut"
                );
            }
            // Of other pieces, what came: right, or wrong in its first byte.
            let mut wrong = self.torrent.content.clone();
            let blocks = grid.all().flat_map(|piece| grid.blocks(piece));
            blocks.for_each(|block| wrong[grid.block_range(block).start as usize] ^= 1);
            let came = [&self.torrent.content, &wrong];
            for block in grid.all().flat_map(|piece| grid.blocks(piece)) {
                for range in saved.blocks.within(grid.block_range(block)) {
                    let holds =
                        |whole| self.torrent.holds(&self.disk, whole, (block.piece, range.clone()), true);
                    assert!(came.into_iter().any(|whole| holds(whole)), "{block:?} would be lost");
                }
            }
        }
    }
}

fn short(op: &DiskOp) -> String {
    match op {
        DiskOp::Open { name, mode, .. } => format!("open {name} {mode:?}"),
        DiskOp::OpenSubdir { name, create, .. } => format!("folder {name} {create}"),
        DiskOp::Stat { name, .. } => format!("stat {name}"),
        DiskOp::Rename { from, to, .. } => format!("rename {from} {to}"),
        DiskOp::Remove { name, .. } => format!("remove {name}"),
        DiskOp::RemoveDir { name, .. } => format!("remove folder {name}"),
        other => {
            let text = format!("{other:?}");
            text.split(' ').next().unwrap_or_default().to_lowercase()
        }
    }
}

/// Some torrent's adventures, by a list of operations. What is claimed must be so all the time, and in the end the torrent
/// must become complete, and vanish without a trace.
pub(crate) fn adventure(data: &[u8]) {
    let torrent = ModelTorrent::new(
        32 << 10,
        &[
            ("a/x", 40 << 10, false),
            ("a/b/y", 5 << 10, false),
            ("e", 0, false),
            (".p", 3 << 10, true),
            ("z", 20 << 10, false),
        ],
    );
    let mut bytes = data.iter().copied();
    let mut next = || bytes.next().unwrap_or(0);
    let mut world = World::new(torrent.clone(), FilesPlan { unwanted: mask(next()), ..torrent.plan() });
    world.shuffle(next());
    let kinds = [DiskErrorKind::Io, DiskErrorKind::Full, DiskErrorKind::NotFound, DiskErrorKind::Exists];
    let (nth, kind) = (usize::from(next()), kinds[usize::from(next()) % kinds.len()]);
    world.fail = (nth > 0).then_some((nth, kind));
    world.start();
    let grid = torrent.layout.grid();
    let blocks: Vec<Block> = grid.all().flat_map(|piece| grid.blocks(piece)).collect();
    for op in bytes.take(MAX_OPERATIONS) {
        let block = blocks[usize::from(op / 16) % blocks.len()];
        match op % 16 {
            0..=5 => world.give(block),
            6 => world.give_wrong(block),
            7 => _ = world.wait(),
            8 => world.files.checkpoint(world.now),
            9 => world.files.set_unwanted(world.now, mask(op / 16)),
            10 => world.files.read(world.now, u64::from(op), block),
            11 => world.files.serve(world.now, u64::from(op), block),
            12 => world.files.served(world.now, u64::from(op - 1)),
            13 => world.files.check(world.now, if op > 127 { CheckScope::All } else { CheckScope::Missing }),
            14 if op < 64 => {
                world.restart(FilesPlan { unwanted: mask(op / 16), ..torrent.plan() }, op & 16 != 0);
                world.start();
            }
            14 => world.files.stop(world.now),
            _ => (0..op / 16).for_each(|_| _ = world.step()),
        }
        world.drain();
        world.check_claims();
    }
    world.end_well();
}

impl World {
    fn give_wrong(&mut self, block: Block) {
        let mut wrong = self.torrent.data(block).into_bytes().to_vec();
        wrong[0] ^= 1;
        self.files.write(self.now, block, Bytes::from(wrong).into());
        self.drain();
    }

    /// After all that happened, the torrent becomes complete in another life, and is then removed.
    pub(crate) fn end_well(&mut self) {
        self.settle();
        self.check_claims();
        self.fail = None;
        let plan = self.torrent.plan();
        self.restart(plan, false);
        self.start();
        self.settle();
        self.check_claims();
        self.give_all();
        self.run();
        // Pieces with a wrong block from before are fetched anew.
        self.give_all();
        self.run();
        assert!(self.has(&Output::Finished), "{:?}", self.events);
        self.check_claims();
        let torrent = self.torrent.clone();
        for file in (0..torrent.layout.files()).filter(|file| self.files.is_wanted(*file)) {
            assert_eq!(self.disk.content(&torrent.path(file)), Some(torrent.file(file)), "file {file}");
        }
        assert_eq!((self.files.backlog(), self.disk.open_count()), (0, 0));
        assert!(self.disk.most_open <= MAX_OPEN_FILES);
        self.files.discard(self.now);
        self.run();
        assert_eq!(self.disk.paths(), Vec::<&str>::new());
    }
}

fn mask(bits: u8) -> BTreeSet<u32> {
    (0..5).filter(|file| bits >> file & 1 == 1).collect()
}

/// What follows brings nothing new.
const MAX_OPERATIONS: usize = 300;
