//! Showing how far the downloads are: bars on a terminal, or a plain line now and then.

use crate::json;
use crate::output;
use crate::rate;
use crate::settings::Show;
use crate::tally::{SwarmNow, Tally, Total, percent};
use crate::text;
use gosh_dl_core::download::DownloadId;
use gosh_dl_core::engine::{DownloadKind, DownloadStatus};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// One of the ways to show progress.
pub(crate) enum Progress {
    /// None at all.
    Hidden,
    /// A line now and then.
    Plain {
        /// When the last one was written, or the command began.
        last: Instant,
        /// What it said: the same is not said again soon.
        said: String,
    },
    /// A bar per running download and one for all.
    Bars(Box<Bars>),
}

/// The bars on the terminal.
pub(crate) struct Bars {
    multi: MultiProgress,
    shown: Vec<(DownloadId, Bar)>,
    total: Option<Bar>,
}

/// One line of them.
struct Bar {
    bar: ProgressBar,
    /// What it is drawn with; a style is only set when this changes: parsing one costs more than drawing.
    shape: Option<(Layout, bool)>,
}

/// What fits on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    /// Columns for the name.
    name: usize,
    /// Whether there is room for a bar, where the size is known.
    bar: bool,
    speed: bool,
    eta: bool,
    completed: bool,
    connections: bool,
    /// The ratio of a torrent, and how many copies its peers have; blank for others.
    swarm: bool,
}

impl Progress {
    /// As a command that was told to `show` wants it.
    pub(crate) fn for_command(show: Show) -> Self {
        if show.quiet || show.json { Self::Hidden } else { Self::new(show.bars) }
    }

    /// Bars where standard error is a terminal and `bars` allows it, plain lines elsewhere.
    fn new(bars: bool) -> Self {
        if bars && std::io::stderr().is_terminal() {
            let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
            Self::Bars(Box::new(Bars { multi, shown: Vec::new(), total: None }))
        } else {
            Self::Plain { last: Instant::now(), said: String::new() }
        }
    }

    /// How often [`update`](Self::update) wants to be called.
    pub(crate) fn interval(&self) -> Option<Duration> {
        match self {
            Self::Hidden => None,
            Self::Plain { .. } => Some(PLAIN_INTERVAL),
            Self::Bars(_) => Some(BAR_INTERVAL),
        }
    }

    /// Shows the downloads that run.
    pub(crate) fn update(&mut self, active: &[DownloadStatus], tally: &Tally) {
        match self {
            Self::Hidden => {}
            Self::Plain { last, said } => {
                let since = last.elapsed();
                if since < PLAIN_INTERVAL / 2 {
                    return;
                }
                let line = plain_line(active, tally);
                if line != *said || since >= PLAIN_SAME_INTERVAL {
                    output::note(&line);
                    (*last, *said) = (Instant::now(), line);
                }
            }
            Self::Bars(bars) => bars.update(active, tally),
        }
    }

    /// Says what keeps a download from going on well, or what somebody says of it.
    pub(crate) fn warn(&mut self, show: Show, status: &DownloadStatus, message: &str) {
        if show.json {
            output::result(&json::warning(status, message));
        }
        let message = text::escape(message);
        self.aside(|| output::error(&format!("warning: {message}")));
    }

    /// Writes something else without tearing the bars.
    pub(crate) fn aside(&mut self, write: impl FnOnce()) {
        match self {
            Self::Bars(bars) if !bars.shown.is_empty() || bars.total.is_some() => bars.multi.suspend(write),
            _ => write(),
        }
    }

    /// The bar of a download that ended goes.
    pub(crate) fn ended(&mut self, id: DownloadId) {
        if let Self::Bars(bars) = self {
            bars.drop_where(|shown| shown == id);
        }
    }

    /// Takes all bars away.
    pub(crate) fn clear(&mut self) {
        if let Self::Bars(bars) = self {
            bars.drop_where(|_| true);
            if let Some(total) = bars.total.take() {
                total.bar.finish_and_clear();
            }
        }
    }
}

impl Bars {
    fn update(&mut self, active: &[DownloadStatus], tally: &Tally) {
        let (width, height) = terminal_size();
        let layout = Layout::new(width, active.iter().any(|status| status.kind != DownloadKind::Http));
        // The total and the prompt need a line each.
        let room = height.saturating_sub(2).clamp(1, MAX_BARS);
        self.drop_where(|id| !active.iter().any(|status| status.id == id));
        for status in active {
            match self.shown.iter().position(|(id, _)| *id == status.id) {
                Some(index) => self.shown[index].1.draw(&Total::from(status), layout),
                None if self.shown.len() < room => {
                    let name = text::escape(&status.metadata.name).into_owned();
                    let mut bar = Bar::new(name, &Total::from(status), layout);
                    bar.bar = self.multi.insert(self.shown.len(), bar.bar);
                    self.shown.push((status.id, bar));
                }
                None => {}
            }
        }
        if tally.files > 1 {
            let total = tally.total(active);
            let bar = self.total.get_or_insert_with(|| {
                let bar = Bar::new(tally.so_far(), &total, layout);
                Bar { bar: self.multi.add(bar.bar), ..bar }
            });
            bar.bar.set_prefix(tally.so_far());
            bar.draw(&total, layout);
        }
    }

    fn drop_where(&mut self, gone: impl Fn(DownloadId) -> bool) {
        let multi = &self.multi;
        self.shown.retain(|(id, bar)| {
            let keep = !gone(*id);
            if !keep {
                bar.bar.finish_and_clear();
                multi.remove(&bar.bar);
            }
            keep
        });
    }
}

/// `name: 12.3 MiB of 45.6 MiB (27%), ...`, or `3 of 10 files: ...`.
fn plain_line(active: &[DownloadStatus], tally: &Tally) -> String {
    let total = tally.total(active);
    match active {
        [only] if tally.files == 1 => {
            format!("{}: {}", text::escape(&only.metadata.name), Total::from(only).sentence())
        }
        _ => format!("{}: {}", tally.so_far(), total.sentence()),
    }
}

impl Bar {
    /// A bar that is complete before it is shown for the first time.
    fn new(name: String, total: &Total, layout: Layout) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_prefix(name);
        let mut new = Self { bar, shape: None };
        new.draw(total, layout);
        new
    }

    fn draw(&mut self, total: &Total, layout: Layout) {
        let shape = Some((layout, total.size.is_some()));
        if self.shape != shape {
            self.shape = shape;
            self.bar.set_style(style(&layout.template(total.size.is_some())).progress_chars("=> "));
        }
        match total.size {
            Some(size) => {
                self.bar.set_length(size.max(1));
                self.bar.set_position(if size == 0 { 1 } else { total.completed.min(size) });
            }
            None => self.bar.unset_length(),
        }
        self.bar.set_message(layout.numbers(total));
        self.bar.tick();
    }
}

impl Layout {
    /// What fits into `width` columns: what matters least goes first, and the name takes what is left.
    fn new(width: usize, swarm: bool) -> Self {
        let name = (width / 4).clamp(MIN_NAME, MAX_NAME);
        let mut layout =
            Self { name, bar: true, speed: true, eta: true, completed: true, connections: true, swarm };
        let drops: [fn(&mut Self); 6] = [
            |layout| layout.swarm = false,
            |layout| layout.connections = false,
            |layout| layout.completed = false,
            |layout| layout.bar = false,
            |layout| layout.eta = false,
            |layout| layout.speed = false,
        ];
        for drop in drops {
            if layout.least() <= width {
                break;
            }
            drop(&mut layout);
        }
        if !layout.bar {
            layout.name = width.saturating_sub(1 + layout.numbers_width()).min(MAX_NAME);
        }
        layout
    }

    /// The columns that it needs.
    fn least(&self) -> usize {
        let (name, bar) = if self.bar { (self.name, MIN_BAR) } else { (MIN_NAME, 0) };
        name + 1 + bar + self.numbers_width()
    }

    fn numbers_width(&self) -> usize {
        let fields = [
            (self.completed, 11),
            (self.speed, 13),
            (self.eta, 11),
            (self.connections, 5),
            (self.swarm, SWARM_WIDTH),
        ];
        4 + fields.into_iter().filter(|(shown, _)| *shown).map(|(_, width)| width).sum::<usize>()
    }

    /// `wide_bar` and `wide_msg` end where the terminal does.
    fn template(&self, is_size_known: bool) -> String {
        let name = if self.name == 0 { String::new() } else { format!("{{prefix:{}!}} ", self.name) };
        if self.bar && is_size_known {
            format!("{name}[{{wide_bar}}] {{msg}}")
        } else {
            format!("{name}{{wide_msg}}")
        }
    }

    /// ` 27%   12.3 MiB    3.2 MiB/s ETA    12s   4c`; without a size the share and the end are blank. Of a torrent
    /// `  4p avail  1.25 ratio  0.10` at the end, and the speed is that of sending once it is seeded.
    fn numbers(&self, total: &Total) -> String {
        let mut text = match total.size {
            Some(size) => format!("{:>3}%", percent(total.completed, size)),
            None => " ".repeat(4),
        };
        if self.completed {
            text.push_str(&format!(" {:>10}", rate::bytes(total.completed)));
        }
        if self.speed {
            let seeding = total.swarm.filter(|swarm| swarm.is_seeding);
            let speed = seeding.map_or(total.speed, |swarm| swarm.upload_speed);
            text.push_str(&format!(" {:>12}", rate::speed(speed)));
        }
        if self.eta {
            // A longer one would push the bar together, and says no more.
            let eta = total.eta().filter(|eta| eta.len() <= 6).unwrap_or_else(|| "-".to_owned());
            let eta = total.size.map_or(String::new(), |_| format!("ETA {eta:>6}"));
            text.push_str(&format!(" {eta:>10}"));
        }
        if self.connections {
            text.push_str(&match total.swarm {
                None => format!(" {:>3}c", total.connections),
                Some(swarm) => format!(" {:>3}p", swarm.peers),
            });
        }
        if self.swarm {
            text.push_str(&match total.swarm {
                None => " ".repeat(SWARM_WIDTH),
                Some(SwarmNow { availability, ratio, .. }) => {
                    format!(" avail {:>5.2} ratio {:>5.2}", availability.min(WIDEST), ratio.min(WIDEST))
                }
            });
        }
        text
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The columns and lines of the terminal; 80 and 24 where it does not say.
fn terminal_size() -> (usize, usize) {
    let size = terminal_size::terminal_size_of(std::io::stderr());
    size.map_or((80, 24), |(width, height)| (usize::from(width.0), usize::from(height.0)))
}

/// The columns of a name: fewer tell nothing, more are seldom needed.
const MIN_NAME: usize = 8;
const MAX_NAME: usize = 30;

/// The columns of a bar that is worth drawing, with its brackets and the space behind it.
const MIN_BAR: usize = 13;

/// The columns of what is said of a swarm, and the greatest number that fits there.
const SWARM_WIDTH: usize = 24;
const WIDEST: f64 = 99.99;

/// More bars than this help nobody.
const MAX_BARS: usize = 32;

/// What the eye takes in; more only costs time.
const DRAWS_PER_SECOND: u8 = 10;

/// A small file is over before its bar would be seen.
const BAR_INTERVAL: Duration = Duration::from_millis(200);

/// Logs and pipes want to know that it goes on, and no more.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// A download that stands still, or is seeded to nobody, tells so this seldom.
const PLAIN_SAME_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_never_wider_than_the_terminal() {
        let swarm = SwarmNow { peers: 999, availability: 1e9, ratio: 1e9, ..SwarmNow::default() };
        let widest = Total {
            completed: 1023 << 30,
            size: Some(1 << 40),
            speed: 1023 << 10,
            connections: 256,
            swarm: Some(swarm),
        };
        for (width, torrents) in (5..300).flat_map(|width| [(width, false), (width, true)]) {
            let layout = Layout::new(width, torrents);
            for total in [widest, Total { size: None, ..widest }, Total { swarm: None, ..widest }] {
                let numbers = layout.numbers(&total);
                assert_eq!(numbers.len(), layout.numbers_width(), "{numbers}");
                let bar = if layout.bar && total.size.is_some() { MIN_BAR } else { 0 };
                assert!(layout.name + 1 + bar + numbers.len() <= width, "{width}: {layout:?}");
                let template = layout.template(total.size.is_some());
                assert!(ProgressStyle::with_template(&template).is_ok(), "{template}");
            }
        }
    }

    #[test]
    fn narrow_terminals_keep_what_matters() {
        let shown = |width| {
            let Layout { name, bar, speed, eta, completed, connections, swarm } = Layout::new(width, false);
            assert!(!swarm, "there is no torrent");
            (name, [bar, speed, eta, completed, connections])
        };
        assert_eq!((Layout::new(120, true).swarm, Layout::new(80, true).swarm), (true, false));
        assert_eq!(shown(120), (30, [true; 5]));
        assert_eq!(shown(80), (20, [true; 5]));
        assert_eq!(shown(60), (15, [true, true, true, false, false]));
        assert_eq!(shown(40), (11, [false, true, true, false, false]));
        assert_eq!(shown(20), (15, [false; 5]));
    }
}
