//! Policy: which bytes of which files a piece is made of.
//!
//! The files of a torrent lie one behind the other; pieces are cut without regard to where files begin. 8 bytes a file
//! are kept.

use crate::base::{PieceGrid, PieceIndex};
use crate::wire::torrent::Metainfo;
use core::ops::Range;

/// Where the files of a torrent lie in the whole.
///
/// ```
/// use gosh_dl_core::base::PieceGrid;
/// use gosh_dl_core::download::torrent::layout::{Layout, Span};
///
/// let grid = PieceGrid::new(16, 50).unwrap();
/// let layout = Layout::from_lens(grid, [(10, false), (6, true), (34, false)]).unwrap();
/// let spans: Vec<Span> = layout.spans(8..20).collect();
/// assert_eq!(spans[0], Span { file: 0, offset: 8, len: 2, pad: false });
/// assert_eq!(spans[1], Span { file: 1, offset: 0, len: 6, pad: true });
/// assert_eq!(spans[2], Span { file: 2, offset: 0, len: 4, pad: false });
/// assert_eq!(layout.pieces_of(2).map(|piece| piece.get()).collect::<Vec<_>>(), [1, 2, 3]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    grid: PieceGrid,
    begins: Box<[Begin]>,
}

/// Some bytes of one file; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The number of the file.
    pub file: u32,
    /// Where they begin in the file, in bytes.
    pub offset: u64,
    /// How many they are.
    pub len: u64,
    /// Whether the file is padding: zeros that are on no disk (BEP 47).
    pub pad: bool,
}

/// Where a file begins, and in the highest bit whether it is padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Begin(u64);

impl Begin {
    const PAD: u64 = 1 << 63;

    const fn get(self) -> u64 {
        self.0 & !Self::PAD
    }

    const fn is_pad(self) -> bool {
        self.0 & Self::PAD != 0
    }
}

impl Layout {
    /// The layout of a torrent.
    pub fn new(metainfo: &Metainfo) -> Self {
        let files = metainfo.files();
        let begin = |index: usize| {
            // A link that somebody else chose is not made: it could lead anywhere, and what is written later through it.
            let is_on_disk = !files.is_pad(index) && !files.is_symlink(index);
            let pad = if is_on_disk { 0 } else { Begin::PAD };
            Begin(files.range(index).start | pad)
        };
        Self { grid: metainfo.grid(), begins: (0..files.len()).map(begin).collect() }
    }

    /// A layout of files of these lengths in bytes, each with whether it is padding; `None` where they are together not
    /// as long as the grid, or there are more than 2^32 - 1.
    pub fn from_lens(grid: PieceGrid, lens: impl IntoIterator<Item = (u64, bool)>) -> Option<Self> {
        let mut begins = Vec::new();
        let mut at = 0u64;
        for (len, pad) in lens {
            begins.push(Begin(at | if pad { Begin::PAD } else { 0 }));
            at = at.checked_add(len).filter(|end| *end <= grid.total())?;
        }
        (at == grid.total() && u32::try_from(begins.len()).is_ok())
            .then(|| Self { grid, begins: begins.into() })
    }

    /// How the whole is cut into pieces.
    pub const fn grid(&self) -> PieceGrid {
        self.grid
    }

    /// How many files there are, padding included.
    pub fn files(&self) -> u32 {
        u32::try_from(self.begins.len()).unwrap_or(u32::MAX)
    }

    /// Where a file lies in the whole, in bytes; empty where there is no such file.
    pub fn range(&self, file: u32) -> Range<u64> {
        self.begin(file as usize)..self.begin(file as usize + 1)
    }

    /// The length of a file in bytes.
    pub fn len_of(&self, file: u32) -> u64 {
        let range = self.range(file);
        range.end - range.start
    }

    /// Whether a file is padding.
    pub fn is_pad(&self, file: u32) -> bool {
        self.begins.get(file as usize).is_some_and(|begin| begin.is_pad())
    }

    /// The file that has the byte at this place in the whole; `None` beyond the end.
    pub fn at(&self, offset: u64) -> Option<u32> {
        let behind = self.begins.partition_point(|begin| begin.get() <= offset);
        // Of files that begin here, all but the last are empty.
        u32::try_from(behind.checked_sub(1)?).ok().filter(|_| offset < self.grid.total())
    }

    /// The bytes of files that lie in `range` of the whole, in order. Files without bytes there are left out.
    pub fn spans(&self, range: Range<u64>) -> Spans<'_> {
        let end = range.end.min(self.grid.total());
        let file = self.at(range.start).unwrap_or(u32::MAX);
        Spans { layout: self, file, at: range.start, end }
    }

    /// The bytes of files that a piece is made of.
    pub fn piece_spans(&self, piece: PieceIndex) -> Spans<'_> {
        self.spans(self.grid.piece_range(piece))
    }

    /// The pieces that have bytes of a file.
    pub fn pieces_of(&self, file: u32) -> impl DoubleEndedIterator<Item = PieceIndex> + use<> {
        self.grid.pieces_in(self.range(file))
    }

    fn begin(&self, index: usize) -> u64 {
        self.begins.get(index).map_or(self.grid.total(), |begin| begin.get())
    }
}

/// Goes through the files that have bytes in a range.
#[derive(Clone, Debug)]
pub struct Spans<'a> {
    layout: &'a Layout,
    file: u32,
    at: u64,
    end: u64,
}

impl Iterator for Spans<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        while self.at < self.end {
            let (file, range) = (self.file, self.layout.range(self.file));
            self.file = file.checked_add(1)?;
            let end = range.end.min(self.end);
            if self.at < end {
                let (offset, len) = (self.at - range.start, end - self.at);
                self.at = end;
                return Some(Span { file, offset, len, pad: self.layout.is_pad(file) });
            }
            if file >= self.layout.files() {
                return None;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(piece_len: u32, lens: &[(u64, bool)]) -> Option<Layout> {
        let total = lens.iter().map(|(len, _)| len).sum();
        Layout::from_lens(PieceGrid::new(piece_len, total)?, lens.iter().copied())
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let grid = PieceGrid::new(4, 10).unwrap();
        assert!(Layout::from_lens(grid, [(10, false)]).is_some());
        assert!(Layout::from_lens(grid, [(9, false)]).is_none());
        assert!(Layout::from_lens(grid, [(u64::MAX, false), (11, false)]).is_none());
        assert!(Layout::from_lens(grid, [(10, false), (1, true)]).is_none());
    }

    #[test]
    fn ranges_beyond_the_end_have_no_spans() {
        let layout = layout(4, &[(10, false), (0, false)]).unwrap();
        assert_eq!(layout.spans(10..20).next(), None);
        assert_eq!(layout.spans(8..20).map(|span| span.len).collect::<Vec<_>>(), [2]);
        assert_eq!(layout.spans(u64::MAX..u64::MAX).next(), None);
        assert_eq!((layout.at(9), layout.at(10)), (Some(0), None));
        assert_eq!((layout.range(1), layout.range(2), layout.range(u32::MAX)), (10..10, 10..10, 10..10));
        assert_eq!(layout.pieces_of(1).next(), None);
    }

    proptest! {
        /// Byte by byte: spans give every byte of a range once, in order, at the right place of the right file.
        #[test]
        fn spans_cover_a_range_once(
            piece_len in 1u32..40,
            lens in prop::collection::vec((0u64..30, any::<bool>()), 1..20),
            start in 0u64..300,
            len in 0u64..100,
        ) {
            let Some(layout) = layout(piece_len, &lens) else { return Ok(()) };
            let model: Vec<(u32, u64, bool)> = (0u32..)
                .zip(&lens)
                .flat_map(|(file, (len, pad))| (0..*len).map(move |at| (file, at, *pad)))
                .collect();
            let end = (start + len).min(model.len() as u64);
            let expected = model.get(start as usize..end as usize).unwrap_or_default();
            let mut found = Vec::new();
            for span in layout.spans(start..start + len) {
                prop_assert!(span.len > 0);
                found.extend((0..span.len).map(|at| (span.file, span.offset + at, span.pad)));
            }
            prop_assert_eq!(&found, expected);
            for (at, (file, ..)) in (0u64..).zip(&model) {
                prop_assert_eq!(layout.at(at), Some(*file));
            }
            for file in 0..layout.files() {
                let range = layout.range(file);
                let pieces: Vec<_> = layout.pieces_of(file).map(|piece| u64::from(piece.get())).collect();
                let mut touched: Vec<_> = range.map(|at| at / u64::from(piece_len)).collect();
                touched.dedup();
                prop_assert_eq!(pieces, touched);
            }
        }
    }
}
